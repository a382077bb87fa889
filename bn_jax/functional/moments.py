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
  group = axes_lib.group(axis_name, axis_index_groups)
  return _moments(axes, group, dtype, x, mask)


# Jitted, as batch_norm is: traced once for all sites alike.
@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _moments(axes, group, dtype, x, mask):
  run = axes_lib.recompute(
    lambda x, mask: moments_of(x.astype(dtype), mask, axes, group)[0]
  )
  return run(x, mask)


def moments_of(x, mask, axes, group):
  """Moments of x, and what the mean's rounding left out.

  x is float32 or wider; what is kept for the backward pass is left to the
  caller. The statistics are taken around a value near the mean, so that no
  digits are lost to a large mean; mean + rest is the mean to about twice the
  digits of mean.

  Returns:
    Moments, and rest, which counts as a constant.
  """
  count = _count(x, mask, axes, group)
  # Without a mask it is one number, known in advance.
  each = count if mask is not None else _psum(_size(x, axes), group)
  at_least_1 = jnp.maximum(jnp.asarray(each, x.real.dtype), 1)
  if mask is None and group[0] is None and axes and axes_lib.is_large(x):
    mean, rest = _mean_around_first(x, axes, at_least_1)
    square = _square_sum(x, mean, rest, mask, axes)
  else:
    mean = _psum(_sum(x, mask, axes), group) * (1 / at_least_1)
    mean = axes_lib.keep(_pinned(mean))
    left = _sum(x - jnp.expand_dims(mean, axes), mask, axes)
    rest = jax.lax.stop_gradient(_psum(left, group) / at_least_1)
    rest = axes_lib.keep(rest)
    square = _psum(_square_sum(x, mean, rest, mask, axes), group)
  var = square / at_least_1
  # Around the mean itself: |rest|^2 less, but not below 0.
  var -= jax.lax.stop_gradient(jnp.minimum(var, _square(rest)))
  return Moments(mean, axes_lib.keep(var), count), rest


def _mean_around_first(x, axes, count):
  """The mean, and what its rounding left out, in one pass.

  The values are summed around the mean of the first example, which is at most
  sqrt(n) standard deviations from the mean of n.
  """
  first = jax.lax.slice_in_dim(x, 0, 1, axis=axes[0])
  near = jax.lax.stop_gradient(_pinned(first.mean(axes)))
  step = _sum(x - jnp.expand_dims(near, axes), None, axes) * (1 / count)
  step = _pinned(step)
  mean = axes_lib.keep(near + step)
  rest = jax.lax.stop_gradient((near - mean) + step)
  return mean, axes_lib.keep(rest)


@jax.custom_jvp
def _pinned(x):
  """x with its last bit cleared: the same number wherever it is used.

  XLA copies what is cheap into every loop over the batch, and LLVM contracts
  its last product with the subtraction that follows: there the mean would
  have more digits than elsewhere, and `rest` be that of another mean.
  """
  if jnp.iscomplexobj(x):
    return jax.lax.complex(_pinned(x.real), _pinned(x.imag))
  bits = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
  bits = jax.lax.bitcast_convert_type(x, bits)
  return jax.lax.bitcast_convert_type(bits & ~1, x.dtype)


@_pinned.defjvp
def _pinned_jvp(primals, tangents):
  return _pinned(*primals), tangents[0]


def _psum(x, group):
  axis_name, axis_index_groups = group
  if axis_name is None:
    return x
  return jax.lax.psum(x, axis_name, axis_index_groups=axis_index_groups)


def _count(x, mask, axes, group):
  """Values per feature over all shards; exact, hence counted in integers."""
  shape = [n for a, n in enumerate(x.shape) if a not in axes]
  size = _size(x, axes)
  if mask is not None:
    mask = jnp.asarray(mask != 0)
    mask = mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)
    size //= max(1, math.prod(mask.shape[a] for a in axes))  # none in no batch
    size *= mask.sum(axes, dtype=jnp.int32)
  count = jnp.asarray(_psum(size, group), x.real.dtype)
  return jnp.broadcast_to(count, shape)


def _size(x, axes):
  return math.prod(x.shape[a] for a in axes)


def _masked(x, mask):
  return x if mask is None else jnp.where(mask != 0, x, 0)


def _square(x):
  return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x * x


def _reduce(x, axes):
  # The barrier keeps XLA from repeating what follows, a few operations a
  # feature, in the loops over x; its transpose does so in the backward pass.
  return jax.lax.optimization_barrier(x.sum(axes))


def _sum(x, mask, axes):
  return _reduce(_masked(x, mask), axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _square_sum(x, mean, rest, mask, axes):
  """sum |x - mean|^2, where mean + rest is x's mean over all the shards."""
  difference = _masked(x - jnp.expand_dims(mean, axes), mask)
  return _reduce(_square(difference), axes)


@_square_sum.defjvp
def _square_sum_jvp(axes, primals, tangents):
  """Leaves out the path through the mean, -2 sum(x - mean - rest) dmean.

  It is 0 once it is summed over the shards; written out it would cost a
  reduction and add rounding errors. x + (-mean), so that it is not the
  x - mean of a reduction: see `apart`.
  """
  x, mean, rest, mask = primals
  dx = tangents[0]
  difference = _masked(x + jnp.expand_dims(-mean, axes), mask)
  product = _reduce((difference.conj() * dx).real, axes)
  product -= (rest.conj() * _sum(dx, mask, axes)).real
  return _square_sum(x, mean, rest, mask, axes), 2 * product
