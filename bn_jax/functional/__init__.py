"""Batch normalization as pure functions over arrays; no Flax needed."""

from bn_jax.functional.batch_norm import batch_norm, without_padding
from bn_jax.functional.moments import Moments, moments
from bn_jax.functional.normalize import normalize
from bn_jax.functional.running import (
  AVERAGES,
  unbiased_variance,
  update_running,
)

__all__ = [
  'AVERAGES',
  'Moments',
  'batch_norm',
  'moments',
  'normalize',
  'unbiased_variance',
  'update_running',
  'without_padding',
]
