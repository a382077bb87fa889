"""What a model's fields may name: sites, initial kernels, nonlinearities."""

import flax.linen as nn

from bn_jax.errors import UserError, pick

SITES = ('pre_activation', 'post_activation', 'input')

_NAMED = {
  'lecun_normal': nn.initializers.lecun_normal,
  'glorot_uniform': nn.initializers.glorot_uniform,
  'he_normal': nn.initializers.he_normal,
  'orthogonal': nn.initializers.orthogonal,
}
_ACTS = {
  'sigmoid': nn.sigmoid,
  'tanh': nn.tanh,
  'relu': nn.relu,
  'gelu': nn.gelu,
  'linear': lambda x: x,
}


def kernel_init(name: str, stddev: float):
  """The initializer called `name`; `stddev` is read by `normal` alone.

  Raises:
    UserError: For a name that is unknown, and a traced `stddev` that is not
      read: it would be tuned without effect.
  """
  if name == 'normal':
    return nn.initializers.normal(stddev)
  allowed = {**_NAMED, 'normal': None}
  initializer = pick('model.kernel_init', name, allowed)
  if not isinstance(stddev, int | float):
    raise UserError(
      f'model.kernel_init: {name!r}; must be normal where model.kernel_stddev '
      'is tuned'
    )
  return initializer()


def activation(name: str):
  """The nonlinearity called `name`, an array function."""
  return pick('model.activation', name, _ACTS)
