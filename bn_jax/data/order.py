"""Which examples are in which batch: a function of (seed, step) alone.

Nothing is carried from step to step, so a resumed run, a member of a
population and a run on another number of devices see the same examples.
"""

import functools

import numpy as np

from bn_jax.data.dataset import Split, generator


# A member looks at two epochs at a time; 16 serve a population in turns, and
# cost 80 MB for a set of the size of ImageNet.
@functools.lru_cache(maxsize=16)
def _epoch(seed, epoch, num_examples):
  return generator(seed, epoch).permutation(num_examples).astype(np.int32)


def batch_indices(
  seed: int,
  first_step: int,
  num_steps: int,
  batch_size: int,
  num_examples: int,
) -> np.ndarray:
  """Returns the examples of num_steps batches, (num_steps, batch_size) int32.

  The examples form one endless stream of epochs, each a permutation of all of
  them, keyed by (seed, epoch). The batch of a step is positions step *
  batch_size to (step + 1) * batch_size of the stream; it may straddle two
  epochs, or more if it is larger than the set, and no example is left out.

  Args:
    seed: of the order; the same for every strategy that is compared.
    first_step: the step of the first batch, from 0.
    num_steps: how many batches.
    batch_size: examples in a batch.
    num_examples: examples in the training part.
  """
  position = first_step * batch_size
  missing = num_steps * batch_size
  pieces = [np.empty(0, np.int32)]
  while missing:
    epoch, start = divmod(position, num_examples)
    piece = _epoch(seed, epoch, num_examples)[start : start + missing]
    pieces.append(piece)
    position += len(piece)
    missing -= len(piece)
  return np.concatenate(pieces).reshape(num_steps, batch_size)


def eval_batches(split: Split, batch_size: int) -> dict[str, np.ndarray]:
  """Cuts a part into batches of one shape, in order; no example is dropped.

  Returns:
    image (K, B, ...), label (K, B) and mask (K, B) bool, with B = batch_size
    and K = ceil(N / B). What fills the last batch is zeros, with a mask of
    False.
  """
  num_batches = -(-len(split.label) // batch_size)
  padding = num_batches * batch_size - len(split.label)
  mask = np.ones(len(split.label), bool)

  def cut(x):
    x = np.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)) if padding else x
    return x.reshape(num_batches, batch_size, *x.shape[1:])

  return {
    'image': cut(split.image),
    'label': cut(split.label),
    'mask': cut(mask),
  }
