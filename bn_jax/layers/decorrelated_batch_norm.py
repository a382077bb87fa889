"""Batch normalization that also takes away the correlation between units."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import dtypes

from bn_jax import functional
from bn_jax.errors import pick


@jax.custom_jvp
def inverse_sqrt(matrix):
  """The symmetric inverse square root of positive definite matrices.

  Its derivative is that of the function, not of eigenvectors, so that equal
  eigenvalues do no harm (Daleckii & Krein 1965):
  d = U (K * (U' dM U)) U', K_ij = -1 / (sqrt(l_i l_j) (sqrt l_i + sqrt l_j)).

  Args:
    matrix: (..., n, n).
  """
  values, vectors = jnp.linalg.eigh(matrix)
  return (vectors * values[..., None, :] ** -0.5) @ _t(vectors)


@inverse_sqrt.defjvp
def _inverse_sqrt_jvp(primals, tangents):
  (matrix,), (tangent,) = primals, tangents
  values, vectors = jnp.linalg.eigh(matrix)
  root = jnp.sqrt(values)
  row, column = root[..., :, None], root[..., None, :]
  inner = _t(vectors) @ (tangent + _t(tangent)) @ vectors / 2
  inner = -inner / (row * column * (row + column))
  out = (vectors * values[..., None, :] ** -0.5) @ _t(vectors)
  return out, vectors @ inner @ _t(vectors)


def _t(x):
  return jnp.swapaxes(x, -1, -2)


def whiten(x, mean, cov, method: str):
  """Values with covariance I, if theirs is `cov`.

  Args:
    x: (n, groups, size).
    mean: (groups, size).
    cov: (groups, size, size), positive definite.
    method: `zca`, x C^(-1/2), stays as near to x as can be; `cholesky` is
      Gram and Schmidt's: unit j is made of units 1 to j.
  """
  if method == 'zca':
    matrix = inverse_sqrt(cov)
  else:
    # The inverse of a small factor, so that the batch goes through a matrix
    # product: solving for a large batch is slow on a CPU.
    eye = jnp.broadcast_to(jnp.eye(cov.shape[-1], dtype=cov.dtype), cov.shape)
    matrix = jax.scipy.linalg.solve_triangular(
      jnp.linalg.cholesky(cov), eye, lower=True
    )
  return jnp.einsum('gij,ngj->ngi', matrix, x - mean)


class DecorrelatedBatchNorm(nn.Module):
  """Whitens groups of units with the batch's own mean and covariance.

  Source: Huang et al. 2018, arXiv 1804.08450, algorithms 1 and 2 (`zca`).
  The gradient flows through mean and covariance. Running ones, without the
  weight of their start, stand in at evaluation.

  Attributes:
    group_size: the most units that are whitened together; the largest divisor
      of their number up to it is taken. A batch must have more examples.
    method: `zca` or `cholesky`.
    momentum: the decay of the running statistics, per step.
    epsilon: added to the diagonal of the covariance.
    use_scale: multiply by a learned scale.
    use_bias: add a learned bias.
    dtype: of the result.
    axis_name: the mapped axis over which the batch is split, if it is.
  """

  group_size: int = 20
  method: str = 'zca'
  momentum: float = 0.9
  epsilon: float = 1e-5
  use_scale: bool = True
  use_bias: bool = True
  dtype: jnp.dtype | None = None
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, use_running_average=None, *, mask=None):
    """Maps (..., units) to the same shape; updates 'batch_stats' in training.

    Args:
      x: Any rank of at least 2; all axes but the last are the sample.
      use_running_average: Whether to whiten with the running statistics.
      mask: Which positions count, of a shape that broadcasts to x's.
    """
    pick('method', self.method, ('zca', 'cholesky'))
    units = x.shape[-1]
    size = next(s for s in range(self.group_size, 0, -1) if units % s == 0)
    flat = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    flat = flat.reshape(-1, units // size, size)
    if mask is not None:
      mask = jnp.broadcast_to(mask[..., :1], (*x.shape[:-1], 1)).reshape(-1)
      flat = functional.without_padding(flat, mask[:, None, None])
    mean, cov = self._statistics(flat, use_running_average, mask)
    cov = cov + self.epsilon * jnp.eye(size, dtype=cov.dtype)
    y = whiten(flat, mean, cov, self.method).reshape(x.shape)
    self.sow('intermediates', 'normalized', y)
    return self._affine(y, x)

  def _statistics(self, x, use_running_average, mask):
    _, groups, size = x.shape
    shapes = {'mean': (groups, size), 'cov': (groups, size, size), 'count': ()}
    running = {
      name: self.variable('batch_stats', name, jnp.zeros, shape)
      for name, shape in shapes.items()
    }
    if use_running_average:
      seen = 1 - self.momentum ** running['count'].value
      unseen = seen == 0  # nothing is known yet: mean 0 and covariance I
      seen = jnp.where(unseen, 1.0, seen)
      cov = jnp.where(unseen, jnp.eye(size), running['cov'].value / seen)
      return running['mean'].value / seen, cov
    mean, cov, present = self._of_batch(x, mask)
    if not self.is_initializing():
      keep = jnp.where(present, self.momentum, 1.0)
      for name, new in (('mean', mean), ('cov', cov)):
        old = running[name].value
        running[name].value = keep * old + (1 - keep) * new
      running['count'].value = running['count'].value + present
    return mean, cov

  def _of_batch(self, x, mask):
    """Mean, covariance, and whether any example counts."""
    axis = None if self.is_initializing() else self.axis_name
    weight = jnp.ones(len(x), x.dtype) if mask is None else mask.astype(x.dtype)
    count, total = _sum(
      (jnp.sum(weight), jnp.einsum('n,ngi->gi', weight, x)), axis
    )
    at_least = jnp.maximum(count, 1)
    mean = total / at_least
    off = x - mean
    cov = _sum(jnp.einsum('n,ngi,ngj->gij', weight, off, off), axis) / at_least
    empty = jnp.eye(cov.shape[-1], dtype=cov.dtype)
    return mean, jnp.where(count > 0, cov, empty), count > 0

  def _affine(self, y, x):
    units = x.shape[-1:]
    if self.use_scale:
      y = y * self.param('scale', nn.initializers.ones_init(), units)
    if self.use_bias:
      y = y + self.param('bias', nn.initializers.zeros_init(), units)
    return y.astype(dtypes.canonicalize_dtype(x, dtype=self.dtype))


def _sum(tree, axis_name):
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)
