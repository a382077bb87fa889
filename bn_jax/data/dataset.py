"""What a data set is here: arrays in three parts, and how to standardize them.

Floor 1; NumPy only.
"""

from typing import Any, NamedTuple

import numpy as np

from bn_jax.errors import UserError

# Epochs count up from 0, so the last key is free for the split into parts.
_SPLIT_KEY = 2**64 - 1
# Beyond this many examples the mean and standard deviation are a sample's,
# so that a streamed set is not read whole before its first step.
STATISTICS_LIMIT = 100_000


class Split(NamedTuple):
  """One part of a data set, in memory.

  Attributes:
    image: (N, height, width, channels) uint8 for images, (N, length) float32
      for series.
    label: (N,) int32, from 0 to num_classes - 1.
  """

  image: np.ndarray
  label: np.ndarray

  @property
  def num_examples(self) -> int:
    """How many examples there are."""
    return len(self.label)

  @property
  def image_shape(self) -> tuple[int, ...]:
    """The shape of one example."""
    return self.image.shape[1:]

  @property
  def image_dtype(self) -> np.dtype:
    """uint8 for images, float32 for series."""
    return self.image.dtype

  def read(self, indices) -> 'Split':
    """Returns the examples at these indices, in their order."""
    return Split(self.image[indices], self.label[indices])

  def subset(self, indices) -> 'Split':
    """Returns the part that has only the examples at these indices."""
    return self.read(indices)


class Dataset(NamedTuple):
  """A data set with its split into parts.

  Attributes:
    name: as it was asked for.
    train, validation, test: a `Split` each, or a `source.Source` each where
      the set is not held in memory.
    num_classes: the number of labels.
    mean, std: (channels,) float32 for images, (1,) for series; over the
      training part only, in the units of the raw values (0 to 255 for
      images). No std is 0: a constant channel has 1.
    label_names: num_classes strings.
    source: the set with its version.
  """

  name: str
  train: Any
  validation: Any
  test: Any
  num_classes: int
  mean: np.ndarray
  std: np.ndarray
  label_names: tuple[str, ...]
  source: str = ''


class Parts(NamedTuple):
  """Positions (int64) of the examples that train and of those held out."""

  train: np.ndarray
  held_out: np.ndarray


def first_line(error: Exception) -> str:
  """Returns the first line of an error's message, or else its type."""
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__


def generator(seed: int, key: int) -> np.random.Generator:
  """Returns the counter-based generator of (seed, key): no state to carry."""
  words = np.array([seed % 2**64, key], dtype=np.uint64)
  return np.random.Generator(np.random.Philox(key=words))


def split_test(num_examples: int, fraction: float) -> Parts:
  """Holds a test part out of a set that has none; no seed moves it."""
  return _divide(num_examples, fraction, generator(0, _SPLIT_KEY))


def split_parts(
  num_examples: int, fraction: float, seed: int, limit: int = 0
) -> Parts:
  """Divides the positions of a training split, fixed by the seed.

  Args:
    num_examples: of the split that is divided.
    fraction: the share of the validation part, between 0 and 1.
    seed: the same seed gives the same parts.
    limit: the most examples that a part may have; 0 for no limit. The parts
      under a small limit lie within those under a larger one.

  Raises:
    UserError: the fraction leaves a part without an example.
  """
  parts = _divide(num_examples, fraction, generator(seed, _SPLIT_KEY))
  return Parts(*(np.sort(part[: limit or None]) for part in parts))


def _divide(num_examples, fraction, random):
  if not 0 < fraction < 1:
    raise UserError(
      f'data.validation_fraction: {fraction:g}; allowed are fractions between '
      '0 and 1, both excluded'
    )
  cut = round(num_examples * fraction)
  if not 0 < cut < num_examples:
    raise UserError(
      f'data.validation_fraction: {fraction:g} of {num_examples} examples '
      f'leaves {cut} to validate on and {num_examples - cut} to train on; '
      'both parts need at least one'
    )
  shuffled = random.permutation(num_examples)
  return Parts(shuffled[cut:], shuffled[:cut])


def limit_part(num_examples: int, seed: int, limit: int) -> np.ndarray:
  """Returns the sorted positions of a test split that `limit` lets through."""
  if not limit or limit >= num_examples:
    return np.arange(num_examples)
  shuffled = generator(seed, _SPLIT_KEY).permutation(num_examples)
  return np.sort(shuffled[:limit])


def statistics_positions(num_examples: int) -> np.ndarray:
  """Returns the positions, evenly spread, that `statistics` should look at."""
  count = min(num_examples, STATISTICS_LIMIT)
  return np.arange(count) * num_examples // max(count, 1)


def statistics(slabs) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation per channel, as float32.

  Args:
    slabs: an iterable of arrays (n, height, width, channels) uint8, whose
      statistics have shape (channels,), or of (n, length) float32: (1,).
  """
  count, total, square = 0, 0.0, 0.0
  for slab in slabs:
    channels = slab.shape[-1] if slab.ndim == 4 else 1
    values = slab.reshape(-1, channels)
    if values.dtype == np.uint8:  # exact: whole numbers, and no large copy
      bins = [np.bincount(v, minlength=256) for v in values.T]
      levels = np.arange(256)
      total = total + np.array([b @ levels for b in bins])
      square = square + np.array([b @ levels**2 for b in bins])
    else:
      values = values.astype(np.float64)
      total = total + values.sum(0)
      square = square + (values**2).sum(0)
    count += len(values)
  mean = total / count
  std = np.sqrt(np.maximum(square / count - mean**2, 0))
  std = np.where(std > 0, std, 1)
  return mean.astype(np.float32), std.astype(np.float32)


def check_batch_size(batch_size: int, num_examples: int) -> None:
  """Raises UserError unless a batch fits the training part."""
  if not 1 <= batch_size <= num_examples:
    raise UserError(
      f'batch_size: {batch_size}; the training part has {num_examples} '
      f'examples, so 1 to {num_examples} are allowed'
    )
