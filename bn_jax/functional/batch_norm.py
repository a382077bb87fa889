"""Batch normalization of an array by its own statistics."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bn_jax.functional import axes as axes_lib
from bn_jax.functional.moments import Moments, moments_of
from bn_jax.functional.normalize import normalize_by

_STATISTICS = ('mean', 'var')


def batch_norm(
  x,
  scale=None,
  bias=None,
  *,
  axis=-1,
  epsilon=1e-5,
  mask=None,
  axis_name=None,
  axis_index_groups=None,
  stop_gradient=(),
  dtype=None,
  stats_dtype=None,
):
  """Batch normalization in training mode (Ioffe & Szegedy 2015, Algorithm 1).

  The gradient flows through mean and variance. For the backward pass x and
  arrays of the size of the statistics are kept, nothing else; both modes of
  differentiation work, to any order.

  A feature whose every value is masked out returns its bias (0 without one)
  and has no gradient. Masked positions are normalized like the others; a NaN
  or an infinity there counts as 0, so that padding of any kind leaves every
  other output and gradient as they are, and has no gradient itself. A loss
  should leave masked outputs out: they depend on the statistics.

  Args:
    x: an array, real or complex, any rank >= 1; integers count as float32.
    scale, bias: of the shape of the feature axes (sorted), or None.
    axis: the feature axis, or several.
    epsilon: added to the variance; a number or an array.
    mask: booleans of a shape that broadcasts to x's: what the statistics are
      taken over. Every position is normalized, see above.
    axis_name, axis_index_groups: as in `moments`.
    stop_gradient: any of 'mean' and 'var': these count as constants in the
      gradient, in the output and where they are returned.
    dtype: of the result; by default x's, scale's and bias's promoted.
    stats_dtype: the least precise dtype of the statistics.

  Returns:
    The normalized array, of x's shape, and the `Moments`.

  Raises:
    ValueError: stop_gradient names something else, or a shape does not fit.
  """
  x = jnp.asarray(x)
  axes = axes_lib.reduction_axes(x.ndim, axis)
  axes_lib.check_shapes(x, axes, mask, scale=scale, bias=bias)
  dtype = axes_lib.inexact(x, scale, bias) if dtype is None else dtype
  least = x.dtype if stats_dtype is None else stats_dtype
  static = _Static(
    axes,
    axes_lib.group(axis_name, axis_index_groups),
    check_stop_gradient(stop_gradient),
    jnp.dtype(dtype),
    jnp.promote_types(least, jnp.float32),
  )
  return _batch_norm(static, x, scale, bias, mask, epsilon)


class _Static(NamedTuple):
  axes: tuple
  group: tuple
  stop: tuple
  dtype: jnp.dtype
  least: jnp.dtype


# Jitted, so that a net's many equal sites are traced once; inline, so that
# nothing of it is left in the program.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _batch_norm(static, x, scale, bias, mask, epsilon):

  @axes_lib.recompute
  def run(x, scale, bias, mask, epsilon):
    if mask is not None:
      x = without_padding(x, mask)
    found, rest = moments_of(
      x.astype(static.least), mask, static.axes, static.group
    )
    stopped = {n: jax.lax.stop_gradient(getattr(found, n)) for n in static.stop}
    found = found._replace(**stopped)
    var = found.var
    if mask is not None:
      var, scale, bias = _hold_empty(found, scale, bias)
    y = normalize_by(
      x, found.mean, var, scale, bias, epsilon, static.axes, rest
    )
    return y.astype(static.dtype), found

  return run(x, scale, bias, mask, epsilon)


def check_stop_gradient(names):
  """The names as a tuple; raises a ValueError for one that is no statistic."""
  names = (names,) if isinstance(names, str) else tuple(names)
  for name in names:
    if name not in _STATISTICS:
      raise ValueError(f'stop_gradient: {name!r}; allowed are {_STATISTICS}')
  return names


def without_padding(x, mask):
  """x with 0 for what is masked out and not finite.

  The statistics leave it out as it is; but the output is x times a factor,
  and the factor's gradient x times the output's: 0 * NaN is NaN.
  """
  return jnp.where((mask != 0) | jnp.isfinite(x), x, 0)


def _hold_empty(found: Moments, scale, bias):
  """Coefficients under which a feature without a value gives its bias."""
  some = found.count > 0
  scale = jnp.where(some, 1 if scale is None else scale, 0)
  if bias is not None:
    bias = jnp.where(some, bias, jax.lax.stop_gradient(bias))
  return jnp.where(some, found.var, 1), scale, bias
