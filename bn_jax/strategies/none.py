"""No normalization: the baseline."""

from bn_jax.strategies.base import Strategy


def none() -> Strategy:
  """The network as it is: nothing at the sites, every bias kept."""
  return Strategy()
