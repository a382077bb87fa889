"""Decorrelated batch normalization: whitening instead of standardizing."""

import functools

from bn_jax.errors import pick
from bn_jax.layers.decorrelated_batch_norm import DecorrelatedBatchNorm
from bn_jax.strategies.base import Strategy

METHODS = ('zca', 'cholesky')


def decorrelated_batch_norm(
  group_size: int = 20,
  method: str = 'zca',
  momentum: float = 0.9,
  epsilon: float = 1e-2,
  affine: bool = True,
) -> Strategy:
  """H' = (H - mean) C^(-1/2) within groups of units, then scale * H' + bias.

  Source: Huang et al. 2018, arXiv 1804.08450, algorithms 1 and 2. The
  gradient flows through mean and covariance C.

  Args:
    group_size: The most units that are whitened together, fewer than a batch
      has examples; the largest divisor of the layer's units up to it is taken.
    method: `zca`, or `cholesky`: Gram and Schmidt's whitening, in which a unit
      is made of those before it.
    momentum: The decay of the running statistics, per step.
    epsilon: Added to the diagonal of C, in the units of a variance. Large: a
      direction that varies less is one that running statistics get wrong.
    affine: Whether a learned scale and bias follow.
  """
  pick('strategy.decorrelated_batch_norm.method', method, METHODS)

  def layers(built):
    norm = functools.partial(
      DecorrelatedBatchNorm,
      group_size=group_size,
      method=method,
      momentum=momentum,
      epsilon=epsilon,
      use_scale=affine,
      use_bias=affine,
      dtype=built.dtype,
      axis_name=built.axis_name,
    )
    return built.with_norm(norm, redundant_bias=True)

  return Strategy(layers=layers)
