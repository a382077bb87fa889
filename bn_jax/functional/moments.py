"""Mean and variance over the batch: exact, masked, over shards."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bn_jax.functional import axes as axes_lib


class Moments(NamedTuple):
  """Statistics of each feature, all of the shape of the feature axes.

  Attributes:
    mean: the mean, float32 or wider (complex for complex input).
    var: the biased variance E|x - mean|^2, real, float32 or wider.
    count: the number of values that the two are taken over, real. Where it is
      0, everything was masked out, and mean and var are 0.
  """

  mean: jax.Array
  var: jax.Array
  count: jax.Array


def moments(
  x, *, axis=-1, mask=None, axis_name=None, axis_index_groups=None, dtype=None
):
  """Mean and variance of x over all but the feature axes.

  The variance is taken in a second pass, around the mean: E[x^2] - E[x]^2
  cancels when |mean| is much larger than the standard deviation.
  Differentiable any number of times in both modes; for the backward pass only
  x and arrays of the size of the statistics are kept.

  Args:
    x: an array of any rank >= 1, real or complex floating point.
    axis: the feature axis, or several.
    mask: booleans of a shape that broadcasts to x's; True is counted.
    axis_name: named axis (of vmap, pmap, shard_map) that the batch is spread
      over, or several. Shards are weighed by what their mask counts.
    axis_index_groups: groups of indices of that axis, as `jax.lax.psum` has it.
    dtype: the least precise dtype to work in; float32 or wider always.

  Returns:
    Moments, over the shards as well.
  """
  x = jnp.asarray(x)
  dtype = jnp.promote_types(x.dtype if dtype is None else dtype, jnp.float32)
  axes = axes_lib.reduction_axes(x.ndim, axis)
  group = (axis_name, axis_index_groups)

  @axes_lib.recompute
  def run(x, mask):
    return moments_of(x.astype(dtype), mask, axes, group)

  return run(x, mask)


def moments_of(x, mask, axes, group):
  """Moments of x, which is float32 or wider, without choosing what is kept."""
  count = _count(x, mask, axes, group)
  at_least_1 = jnp.maximum(count, 1)
  if mask is None:
    total = x.sum(axes)
  else:
    total = x.sum(axes, where=jnp.broadcast_to(mask != 0, x.shape))
  mean = axes_lib.keep(_psum(total, group) / at_least_1)
  square = _square_sum(x, mean, mask, axes)
  var = axes_lib.keep(_psum(square, group) / at_least_1)
  return Moments(mean, var, count)


def _psum(x, group):
  axis_name, axis_index_groups = group
  if axis_name is None:
    return x
  return jax.lax.psum(x, axis_name, axis_index_groups=axis_index_groups)


def _count(x, mask, axes, group):
  """Values per feature over all shards; exact, hence counted in integers."""
  shape = [n for a, n in enumerate(x.shape) if a not in axes]
  size = math.prod(x.shape[a] for a in axes)
  if mask is not None:
    mask = jnp.asarray(mask != 0)
    mask = mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)
    size //= math.prod(mask.shape[a] for a in axes)
    size *= mask.sum(axes, dtype=jnp.int32)
  count = jnp.asarray(_psum(size, group), x.real.dtype)
  return jnp.broadcast_to(count, shape)


def _difference(x, mean, mask, axes):
  difference = x - jnp.expand_dims(mean, axes)
  return difference if mask is None else jnp.where(mask != 0, difference, 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _square_sum(x, mean, mask, axes):
  """sum |x - mean|^2, where mean is the mean of x over all the shards."""
  difference = _difference(x, mean, mask, axes)
  if jnp.iscomplexobj(difference):
    return (difference.real**2 + difference.imag**2).sum(axes)
  return (difference * difference).sum(axes)


@_square_sum.defjvp
def _square_sum_jvp(axes, primals, tangents):
  """Leaves out the path through the mean, -2 sum(x - mean) dmean.

  It is 0 once it is summed over the shards; written out it would cost a
  reduction and add rounding errors.
  """
  x, mean, mask = primals
  product = _difference(x, mean, mask, axes).conj() * tangents[0]
  return _square_sum(x, mean, mask, axes), 2 * product.real.sum(axes)
