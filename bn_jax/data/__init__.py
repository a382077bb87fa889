"""Data sets as arrays, and batches as a function of (seed, step).

`load(config.data)` gives a `Dataset`; `batch_indices` says which examples are
in a step's batch; `eval_batches` cuts a part into padded, masked batches.
"""

from bn_jax.data.dataset import Dataset, Split, check_batch_size
from bn_jax.data.loading import Fields, load
from bn_jax.data.order import batch_indices, eval_batches

__all__ = [
  'Dataset',
  'Fields',
  'Split',
  'batch_indices',
  'check_batch_size',
  'eval_batches',
  'load',
]
