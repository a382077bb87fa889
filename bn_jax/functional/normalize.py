"""Normalization with given statistics, scale and bias."""

import functools

import jax
import jax.numpy as jnp

from bn_jax.functional import axes as axes_lib


def normalize(
  x,
  mean,
  var,
  scale=None,
  bias=None,
  *,
  axis=-1,
  epsilon=1e-5,
  dtype=None,
):
  """(x - mean) / sqrt(var + epsilon) * scale + bias.

  With running statistics this is batch normalization at inference: one
  subtraction and one multiply-add a value, as the coefficients are folded
  first. (Folding the mean into the bias too would cancel where |mean| is
  large.) For the backward pass only x and arrays of the size of the
  statistics are kept.

  Args:
    x: an array, real or complex; integers count as float32.
    mean, var, scale, bias: of the shape of the feature axes of x (sorted);
      scale and bias may be None.
    axis: the feature axis, or several.
    epsilon: added to var; a number or an array.
    dtype: of the result; by default x's, scale's and bias's promoted.

  Returns:
    An array of x's shape. It is computed in float32 or wider.

  Raises:
    ValueError: a shape does not fit.
  """
  x = jnp.asarray(x)
  axes = axes_lib.reduction_axes(x.ndim, axis)
  axes_lib.check_shapes(x, axes, mean=mean, var=var, scale=scale, bias=bias)
  dtype = axes_lib.inexact(x, scale, bias) if dtype is None else dtype
  return _normalize(axes, jnp.dtype(dtype), x, mean, var, scale, bias, epsilon)


# Jitted, as batch_norm is: traced once for all sites alike.
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _normalize(axes, dtype, *args):
  run = axes_lib.recompute(
    lambda *args: normalize_by(*args, axes).astype(dtype)
  )
  return run(*args)


def normalize_by(x, mean, var, scale, bias, epsilon, axes, rest=None):
  """The same without choosing the result's dtype and what is kept.

  The mean is mean + rest, as `moments_of` gives it.
  """
  x, mean = _at_least_float32(x), _at_least_float32(mean)
  factor = _rsqrt(_at_least_float32(var) + epsilon)
  if scale is not None:
    factor = factor * _at_least_float32(scale)
  factor = axes_lib.keep(factor)
  dtype = jnp.promote_types(jnp.result_type(x, mean), factor.dtype)
  offset = jnp.zeros_like(factor) if bias is None else _at_least_float32(bias)
  if rest is not None:
    offset = offset - rest * factor
  dtype = jnp.promote_types(dtype, offset.dtype)
  mean, factor, offset = (
    jnp.expand_dims(a.astype(dtype), axes) for a in (mean, factor, offset)
  )
  return _affine(x.astype(dtype), mean, factor, offset)


def _at_least_float32(x):
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.custom_jvp
def _rsqrt(x):
  return axes_lib.keep(jax.lax.rsqrt(x))


@_rsqrt.defjvp
def _rsqrt_jvp(primals, tangents):
  """One factor at a time: y / x underflows where x is large."""
  y = _rsqrt(*primals)
  return y, tangents[0] * y / primals[0] * -0.5


@jax.custom_jvp
def _affine(x, mean, factor, offset):
  return (x + -mean) * factor + offset


def _affine_jvp(primals, tangents):
  """Gathers what is per feature, so that its transpose is two reductions.

  Derived term by term there would be three: of d, of d * factor and of
  d * (x - mean).
  """
  x, mean, factor, offset = primals
  dx, dmean, dfactor, doffset = (
    0 if type(t) is jax.custom_derivatives.SymbolicZero else t for t in tangents
  )
  out = _affine(x, mean, factor, offset)
  dout = (
    (x - axes_lib.apart(mean, x)) * dfactor
    + (doffset - factor * dmean)
    + factor * dx
  )
  return out, jnp.broadcast_to(dout, out.shape).astype(out.dtype)


_affine.defjvp(_affine_jvp, symbolic_zeros=True)
