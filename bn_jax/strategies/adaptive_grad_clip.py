"""Adaptive gradient clipping, by the ratio of gradient to weight."""

import optax

from bn_jax import trees
from bn_jax.errors import bounded
from bn_jax.strategies.base import Strategy

SEARCH = {'clipping': (1e-3, 1e0)}


def adaptive_grad_clip(
  clipping: float = 0.01, epsilon: float = 1e-3
) -> Strategy:
  """G_i <- G_i min(1, clipping max(|W_i|, epsilon) / |G_i|), per unit i.

  The last layer (`head`) is left alone, as in the paper.

  Source: Brock et al. 2021, arXiv 2102.06171, equation 3.

  Args:
    clipping: The largest allowed ratio of norms.
    epsilon: The norm that a weight counts as at least, so that zero weights
      can move.
  """

  bounded('strategy.adaptive_grad_clip.clipping', clipping, above=0)
  bounded('strategy.adaptive_grad_clip.epsilon', epsilon, above=0)

  def clipped(tree):
    return trees.map_named(lambda path, _: not path.startswith('head/'), tree)

  clip = optax.adaptive_grad_clip(clipping, epsilon)
  return Strategy(gradient=optax.masked(clip, clipped))
