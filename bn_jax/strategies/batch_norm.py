"""Batch normalization: the gradient flows through mean and deviation."""

import functools

from bn_jax.errors import UserError, bounded, pick
from bn_jax.functional import AVERAGES
from bn_jax.layers.batch_norm import BatchNorm
from bn_jax.layers.ghost_batch_norm import GhostBatchNorm
from bn_jax.strategies.base import Strategy

STOPS = {
  'none': (),
  'mean': ('mean',),
  'var': ('var',),
  'both': ('mean', 'var'),
}
MOMENTUM = 0.9


def batch_norm(
  momentum: float = MOMENTUM,
  epsilon: float = 1e-5,
  average: str = 'debiased',
  stop_gradient: str = 'none',
  affine: bool = True,
  ghost_batch_size: int = 0,
) -> Strategy:
  """H' = (H - mean) / sqrt(var + epsilon), then scale * H' + bias.

  Mean and variance are those of the batch and part of the network: the
  gradient flows through them. A running average stands in at evaluation.

  Source: Ioffe & Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2.

  Args:
    momentum: The decay of the running average, per step.
    epsilon: Added to the variance, in its units.
    average: How the running statistics follow the batch's: `ema` (from 0 and
      1, as in Flax), `debiased` (that start removed), `cumulative` (every
      batch counts the same).
    stop_gradient: `none`, `mean`, `var` or `both`: what the gradient takes
      for a constant. Anything but `none` is the naive form that the textbook
      warns of.
    affine: Whether a learned scale and bias follow.
    ghost_batch_size: Examples that share statistics (Hoffer et al. 2017); 0
      for those of the batch.
  """

  bounded('strategy.batch_norm.momentum', momentum, least=0, most=1)
  bounded('strategy.batch_norm.epsilon', epsilon, least=0)
  stops = pick('strategy.batch_norm.stop_gradient', stop_gradient, STOPS)
  pick('strategy.batch_norm.average', average, AVERAGES)
  is_set = not isinstance(momentum, float) or momentum != MOMENTUM  # or traced
  if average == 'cumulative' and is_set:
    raise UserError(
      'strategy.batch_norm.momentum: has no effect under average=cumulative; '
      f'must be {MOMENTUM}'
    )
  bounded('strategy.batch_norm.ghost_batch_size', ghost_batch_size, least=0)
  module = BatchNorm
  if ghost_batch_size:
    module = functools.partial(GhostBatchNorm, size=ghost_batch_size)

  def layers(built):
    norm = functools.partial(
      module,
      momentum=momentum,
      epsilon=epsilon,
      average=average,
      stop_gradient=stops,
      use_scale=affine,
      use_bias=affine,
      dtype=built.dtype,
      axis_name=built.axis_name,
    )
    return built.with_norm(norm, redundant_bias=True)

  return Strategy(layers=layers)
