"""Batch normalization and its gradient in float64, from the equations.

Ioffe & Szegedy (2015, arXiv 1502.03167), Algorithm 1 and section 3, with a
mask: W counts the values of a feature that the statistics are taken over.
"""

from typing import NamedTuple

import numpy as np


class Reference(NamedTuple):
  """What a layer should return; gradients are of sum Re(conj(d) y)."""

  y: np.ndarray
  mean: np.ndarray
  var: np.ndarray
  count: np.ndarray
  dx: np.ndarray
  dscale: np.ndarray
  dbias: np.ndarray


def wide(x):
  """x in float64, or complex128."""
  x = np.asarray(x)
  complex_ = x.dtype.kind == 'c'
  return x.astype(np.complex128 if complex_ else np.float64)


def axes_of(ndim, axis):
  """The axes that are reduced, all but the feature axes."""
  axis = (axis,) if isinstance(axis, int) else axis
  features = {a % ndim for a in axis}
  return tuple(a for a in range(ndim) if a not in features)


def moments(x, axis=-1, mask=None):
  """Mean, biased variance and count of each feature, 0 where nothing counts."""
  x = wide(x)
  axes = axes_of(x.ndim, axis)
  on = np.broadcast_to(True if mask is None else np.asarray(mask) != 0, x.shape)
  count = on.sum(axes)
  n = np.maximum(count, 1)
  mean = np.where(on, x, 0).sum(axes) / n
  gap = np.where(on, x - np.expand_dims(mean, axes), 0)
  return mean, (np.abs(gap) ** 2).sum(axes) / n, count


def normalize(x, mean, var, scale, bias, axis=-1, epsilon=1e-5):
  """The inference formula."""
  x = wide(x)
  axes = axes_of(x.ndim, axis)
  mean, var, scale, bias = (
    np.expand_dims(wide(a), axes) for a in (mean, var, scale, bias)
  )
  return (x - mean) / np.sqrt(var + epsilon) * scale + bias


def batch_norm(x, scale, bias, d, axis=-1, mask=None, epsilon=1e-5):
  """Output, statistics, and the gradients that the output's gradient d gives.

  A feature of which nothing counts returns its bias and has no gradient.
  """
  x, d = wide(x), wide(d)
  axes = axes_of(x.ndim, axis)
  on = np.broadcast_to(True if mask is None else np.asarray(mask) != 0, x.shape)
  mean, var, count = moments(x, axis, mask)
  some = count > 0

  def spread(a):
    return np.expand_dims(a, axes)

  rstd = 1 / np.sqrt(np.where(some, var + epsilon, 1))
  normal = (x - spread(mean)) * spread(rstd * some)
  g = d * spread(wide(scale))
  n = spread(np.maximum(count, 1))
  pull = spread(g.sum(axes)) + normal * spread(
    (g.conj() * normal).real.sum(axes)
  )
  dx = spread(rstd * some) * (g - on / n * pull)
  y = normal * spread(wide(scale)) + spread(wide(bias))
  dscale = (d.conj() * normal).real.sum(axes)
  return Reference(y, mean, var, count, dx, dscale, d.real.sum(axes) * some)
