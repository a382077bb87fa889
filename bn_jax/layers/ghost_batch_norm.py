"""Batch norm over groups of a batch, each with statistics of its own."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bn_jax import functional
from bn_jax.errors import UserError


class GhostBatchNorm(nn.Module):
  """Batch norm whose statistics are over `size` examples at a time.

  Group i is the examples i * size to (i + 1) * size of the batch (of a
  device's part of it). The running statistics follow the mean over groups of
  the groups' means and variances, weighed by how many examples count; the
  groups of all devices under `axis_name`.

  Source: Hoffer, Hubara & Soudry 2017, arXiv 1705.08741, algorithm 1.

  Attributes:
    size: examples in a group; it divides the batch.
    momentum: as of `BatchNorm`, and so is every attribute that follows.
  """

  size: int
  momentum: Any = 0.99
  epsilon: Any = 1e-5
  dtype: Any = None
  use_scale: bool = True
  use_bias: bool = True
  stop_gradient: tuple = ()
  average: str = 'ema'
  axis_name: Any = None

  @nn.compact
  def __call__(self, x, use_running_average=None, *, mask=None):
    """Normalizes x (batch, ..., features); `mask` broadcasts to it.

    Raises:
      UserError: If `size` does not divide the batch.
    """
    features = x.shape[-1:]
    inits = {'mean': jnp.zeros, 'var': jnp.ones}
    if self.average != 'ema':
      inits['count'] = jnp.zeros
    running = {
      name: self.variable('batch_stats', name, init, features, jnp.float32)
      for name, init in inits.items()
    }
    zeros, ones = nn.initializers.zeros_init(), nn.initializers.ones_init()
    scale = self.param('scale', ones, features) if self.use_scale else None
    bias = self.param('bias', zeros, features) if self.use_bias else None
    dtype = nn.dtypes.canonicalize_dtype(x, scale, bias, dtype=self.dtype)

    def run(scale, bias):
      if not use_running_average:
        return self._by_groups(x, mask, scale, bias, dtype)
      mean, var = running['mean'].value, running['var'].value
      given = x if mask is None else functional.without_padding(x, mask)
      y = functional.normalize(
        given, mean, var, scale, bias, epsilon=self.epsilon, dtype=dtype
      )
      return y, None

    y, found = run(scale, bias)
    if self.is_initializing():
      return y
    if found is not None:
      self._update(running, found)
    self.sow('intermediates', 'normalized', run(None, None)[0])
    return y

  def _by_groups(self, x, mask, scale, bias, dtype):
    batch = x.shape[0]
    if batch % self.size:
      raise UserError(
        f'strategy.batch_norm.ghost_batch_size: {self.size}; must divide the '
        f"batch, or a device's part of it, which is {batch} examples"
      )

    def one(x, mask=None):
      return functional.batch_norm(
        x,
        scale,
        bias,
        epsilon=self.epsilon,
        mask=mask,
        stop_gradient=self.stop_gradient,
        dtype=dtype,
      )

    def split(x):
      return x.reshape(-1, self.size, *x.shape[1:])

    given = (split(x),)
    if mask is not None:
      given += (split(jnp.broadcast_to(mask, (batch, *mask.shape[1:]))),)
    y, found = jax.vmap(one)(*given)
    return y.reshape(x.shape), found

  def _update(self, running, found):
    count = self._sum(jnp.sum(found.count, 0))
    at_least_1 = jnp.maximum(count, 1)
    batches = running['count'].value if 'count' in running else None
    for name in ('mean', 'var'):
      total = jnp.sum(getattr(found, name) * found.count, 0)
      running[name].value = functional.update_running(
        running[name].value,
        self._sum(total) / at_least_1,
        self.momentum,
        count=batches,
        present=count > 0,
        average=self.average,
      )
    if batches is not None:
      running['count'].value = batches + (count > 0)

  def _sum(self, x):
    return x if self.axis_name is None else jax.lax.psum(x, self.axis_name)
