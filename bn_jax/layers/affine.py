"""A learned scale and bias with no normalization."""

import flax.linen as nn
import jax.numpy as jnp


class Affine(nn.Module):
  """scale * x + bias per unit, the two parameters that a normalization has.

  Strategies that normalize by other means put it at their sites, so that they
  have the same parameters, at the same paths, as batch normalization.
  """

  dtype: jnp.dtype | None = None

  @nn.compact
  def __call__(self, x, use_running_average=None, *, mask=None):
    """Maps (..., features) to the same shape; what else is given is unused."""
    del use_running_average, mask
    self.sow('intermediates', 'normalized', x)
    scale = self.param('scale', nn.initializers.ones_init(), x.shape[-1:])
    bias = self.param('bias', nn.initializers.zeros_init(), x.shape[-1:])
    x, scale, bias = nn.dtypes.promote_dtype(x, scale, bias, dtype=self.dtype)
    return x * scale + bias


class Identity(nn.Module):
  """What stands at a site that nothing normalizes: it has no parameters."""

  def __call__(self, x, use_running_average=None, *, mask=None):
    """Returns `x`."""
    del use_running_average, mask
    return x
