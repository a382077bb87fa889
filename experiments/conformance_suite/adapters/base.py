"""What a case may ask of an implementation."""

from typing import Any, NamedTuple

import jax


class NotSupported(Exception):  # noqa: N818
  """The implementation has no such feature: neither a pass nor a failure."""


class Spec(NamedTuple):
  """A layer to be made."""

  shape: tuple[int, ...]
  """Of the input."""
  axis: Any = -1
  epsilon: float = 1e-5
  momentum: float = 0.9
  """The decay of the running statistics."""
  axis_name: Any = None
  groups: Any = None
  average: str | None = None
  """The peer's own by default."""
  unbiased: bool | None = None
  """The peer's own by default."""

  @property
  def features(self):
    """The shape of the feature axes."""
    axes = (self.axis,) if isinstance(self.axis, int) else self.axis
    return tuple(
      self.shape[a] for a in sorted(a % len(self.shape) for a in axes)
    )


class Peer:
  """An implementation. A subclass is an adapter: as thin as can be.

  A layer's state is a pytree that holds its parameters and statistics.
  """

  name: str
  average = 'ema'
  """How its running statistics average: 'ema' or 'debiased'."""
  unbiased = False
  """Whether its running variance divides by n - 1."""
  jit = staticmethod(jax.jit)
  """What compiles a function of its states."""
  snippet: str
  """Its call in training mode on x, as a person would write it."""

  def version(self):
    """Its version, a string."""
    raise NotImplementedError

  def state(self, spec, scale, bias, mean=None, var=None):
    """A layer's state with these parameters and statistics (0 and 1)."""
    raise NotImplementedError

  def train(self, spec, state, x, mask=None):
    """(y, state) in training mode."""
    raise NotImplementedError

  def evaluate(self, spec, state, x):
    """The output y by the running statistics."""
    raise NotImplementedError

  def stats(self, spec, state):
    """The running mean and variance of a state."""
    raise NotImplementedError

  def transforms(self):
    """Raises NotSupported where JAX's transformations do not apply."""

  def output(self, spec, x, scale, bias, mask=None):
    """The output in training mode, of arrays."""
    return self.train(spec, self.state(spec, scale, bias), x, mask)[0]

  def gradients(self, spec, x, scale, bias, d, mask=None):
    """The output, and the gradients that d gives to x, scale and bias."""

    def f(x, scale, bias):
      return self.output(spec, x, scale, bias, mask)

    y, pull = jax.vjp(jax.jit(f), x, scale, bias)
    return y, pull(d.astype(y.dtype))


def no(spec, mask=None, **has):
  """Raises NotSupported for what is asked of a layer and is not in `has`."""
  asked = {
    'mask': mask is not None,
    'axis_name': spec.axis_name is not None,
    'groups': spec.groups is not None,
    'several_axes': not isinstance(spec.axis, int),
    'average': spec.average is not None,
    'unbiased': spec.unbiased is not None,
  }
  for name, value in asked.items():
    if value and not has.get(name):
      raise NotSupported(name)
