"""Feature axes, and what is kept for the backward pass."""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

# What the backward pass keeps beside the inputs: values with this name, all of
# the size of the statistics. Everything of the size of x is computed again
# from x, inside the loop that uses it. prevent_cse=False: the recomputation is
# one subtraction, and XLA is free to fuse it wherever it likes.
_KEPT = 'bn_jax_statistics'


def keep(x):
  """x, kept for the backward pass."""
  if jnp.iscomplexobj(x):  # which jax.checkpoint cannot round
    return jax.lax.complex(keep(x.real), keep(x.imag))
  return checkpoint_name(x, _KEPT)


recompute = functools.partial(
  jax.checkpoint,
  policy=jax.checkpoint_policies.save_only_these_names(_KEPT),
  prevent_cse=False,
)

# What exceeds the caches is read as seldom as can be.
_LARGE = 4 << 20


def is_large(x):
  """Whether a pass over x goes through the memory."""
  return x.size * x.dtype.itemsize >= _LARGE


def apart(mean, x):
  """The mean; for a large x a copy, so that XLA sees another x - mean.

  XLA's CPU backend fuses `x - mean` into a reduction only if nothing else uses
  it, and writes it to memory otherwise: the better choice where x fits into
  the caches, two passes lost where it does not. Other backends fuse it always.
  """
  return jax.lax.optimization_barrier(mean) if is_large(x) else mean


def feature_axes(ndim, axis):
  """The feature axes of an array, positive, sorted, each once.

  Args:
    ndim: the rank of the array.
    axis: an int or an iterable of ints in [-ndim, ndim).

  Raises:
    ValueError: an axis is out of range.
  """
  axes = tuple(axis) if hasattr(axis, '__iter__') else (axis,)
  for a in axes:
    if not -ndim <= a < ndim:
      raise ValueError(f'axis: {a}; allowed is {-ndim} to {ndim - 1}')
  return tuple(sorted({a % ndim for a in axes}))


def reduction_axes(ndim, axis):
  """Every axis that is not a feature axis."""
  features = feature_axes(ndim, axis)
  return tuple(a for a in range(ndim) if a not in features)


def inexact(*arrays):
  """The dtype of a result from arrays that may be None, or of integers."""
  dtype = jnp.result_type(*(a for a in arrays if a is not None))
  if jnp.issubdtype(dtype, jnp.inexact):
    return dtype
  return jnp.promote_types(dtype, jnp.float32)


def check_shapes(x, axes, mask=None, **features):
  """Refuses what would make the result of another shape than x.

  Args:
    x: an array.
    axes: the axes that are reduced.
    mask: must broadcast to x's shape, or None.
    features: arrays by name that must broadcast to that of the other axes, or
      None.

  Raises:
    ValueError: names the first that does not.
  """
  each = tuple(n for a, n in enumerate(x.shape) if a not in axes)
  for name, array in {'mask': mask, **features}.items():
    shape = x.shape if name == 'mask' else each
    if array is None or jnp.shape(array) == shape:
      continue
    try:
      found = jnp.broadcast_shapes(jnp.shape(array), shape)
    except ValueError:
      found = None
    if found != shape:
      raise ValueError(f'{name}: shape {jnp.shape(array)}; allowed is {shape}')


def group(axis_name, axis_index_groups):
  """What a collective sums over, hashable: (axis_name, groups)."""
  if axis_index_groups is not None:
    axis_index_groups = tuple(tuple(g) for g in axis_index_groups)
  if isinstance(axis_name, list):
    axis_name = tuple(axis_name)
  return axis_name, axis_index_groups
