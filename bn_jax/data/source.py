"""A part of a data set that is decoded when it is asked for.

`Source` has what `Split` has (num_examples, image_shape, image_dtype, read,
subset), so that code which reads a part need not know where it lives.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bn_jax.data import dataset, progress
from bn_jax.data.dataset import Split, first_line
from bn_jax.errors import UserError

_SLAB = 1000  # examples decoded at once: a bar that moves, memory that lasts


class Source:
  """Examples at some positions of a sequence, as arrays.

  Attributes:
    image_shape: (height, width, channels), the same for all examples.
    image_dtype: uint8.
    num_examples: how many there are.
  """

  image_dtype = np.dtype(np.uint8)

  def __init__(
    self,
    name: str,
    examples: Sequence[dict[str, Any]],
    image: str,
    label: str,
    num_classes: int,
    image_size: int = 0,
    positions: np.ndarray | None = None,
  ):
    """Reads one example, to know the shape.

    Args:
      name: of the set, for messages.
      examples: has `__getitems__(positions)`, as a `tfds.data_source` has.
      image: the key of the image in an example.
      label: the key of the label.
      num_classes: labels are from 0 to num_classes - 1.
      image_size: see `resize`; 0 leaves images as they are.
      positions: those of `examples` that belong to the part; None is all.
    """
    self._name, self._examples = name, examples
    self._image, self._label = image, label
    self._num_classes, self._image_size = num_classes, image_size
    if positions is None:
      positions = np.arange(len(examples))
    self._positions = positions
    self.num_examples = len(positions)
    self.image_shape = None
    if self.num_examples:
      self.image_shape = self.read([0]).image.shape[1:]

  def subset(self, indices) -> 'Source':
    """Returns the part that has only the examples at these indices."""
    return Source(
      self._name,
      self._examples,
      self._image,
      self._label,
      self._num_classes,
      self._image_size,
      self._positions[indices],
    )

  def read(self, indices) -> Split:
    """Returns the examples at these indices, in their order.

    Raises:
      UserError: a file is damaged, or an example has no label or an image of
        another shape than the first.
    """
    if not len(indices):
      shape = self.image_shape or (0, 0, 0)
      return Split(np.empty((0, *shape), np.uint8), np.empty(0, np.int32))
    examples = decode(self._name, self._examples, self._positions[indices])
    images = [self._checked(e[self._image]) for e in examples]
    labels = np.array([e[self._label] for e in examples], np.int32)
    self._check_labels(labels)
    return Split(np.stack(images), labels)

  def _checked(self, image):
    if self._image_size:
      image = resize(image, self._image_size)
    if self.image_shape is None:
      self.image_shape = image.shape
    if image.shape != self.image_shape:
      raise UserError(
        f'data.name: {self._name!r} has images of different shapes, '
        f'{self.image_shape} and {image.shape}; data.image_size=N makes them '
        'N x N, and their channels must agree'
      )
    return image

  def _check_labels(self, labels):
    wrong = (labels < 0) | (labels >= self._num_classes)
    if wrong.any():
      raise UserError(
        f'data.name: {self._name!r} has an example with the label '
        f'{labels[wrong][0]}; allowed are 0 to {self._num_classes - 1}'
      )


def decode(name: str, examples, positions) -> list[dict[str, Any]]:
  """Returns the examples at these positions.

  Raises:
    UserError: a file is damaged.
  """
  try:
    return examples.__getitems__([int(position) for position in positions])
  except Exception as error:
    raise UserError(
      f'data.name: a file of {name!r} cannot be read ({first_line(error)}); '
      'delete its folder and prepare the set again'
    ) from error


def resize(image: np.ndarray, size: int) -> np.ndarray:
  """Cuts the middle square out and scales it (bilinear, antialiased).

  Args:
    image: (height, width, channels) uint8, of 1, 3 or 4 channels.
    size: of the result, (size, size, channels) uint8.
  """
  import PIL.Image

  height, width, channels = image.shape
  square = min(height, width)
  top, left = (height - square) // 2, (width - square) // 2
  middle = image[top : top + square, left : left + square]
  small = PIL.Image.fromarray(middle[..., 0] if channels == 1 else middle)
  small = small.resize((size, size), PIL.Image.Resampling.BILINEAR)
  return np.asarray(small).reshape(size, size, channels)


def slabs(part: Split | Source, indices, text: str) -> Iterator[Split]:
  """Yields the examples at these indices, a thousand at a time."""
  pieces = [indices[i : i + _SLAB] for i in range(0, len(indices), _SLAB)]
  reads = (part.read(piece) for piece in pieces)
  return progress.track(reads, map(len, pieces), text)


def in_memory(part: Split | Source, text: str) -> Split:
  """Returns the part as arrays, decoding it if that is still to be done.

  Raises:
    UserError: it is larger than half of the machine's memory.
  """
  if isinstance(part, Split):
    return part
  shape = (part.num_examples, *(part.image_shape or (0, 0, 0)))
  _check_memory(int(np.prod(shape, dtype=np.int64)))
  whole = Split(np.empty(shape, np.uint8), np.empty(shape[0], np.int32))
  start = 0
  for slab in slabs(part, np.arange(part.num_examples), text):
    end = start + len(slab.label)
    whole.image[start:end], whole.label[start:end] = slab
    start = end
  return whole


def _check_memory(size):
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  if size > memory / 2:
    raise UserError(
      f'data.in_memory: the training part takes {size / 2**30:.1f} GiB of '
      f'the {memory / 2**30:.1f} of this machine; data.in_memory=False '
      'streams it'
    )


def statistics(part: Split | Source) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean and standard deviation per channel; see `Dataset`."""
  indices = dataset.statistics_positions(part.num_examples)
  text = 'Measuring mean and standard deviation'
  return dataset.statistics(s.image for s in slabs(part, indices, text))
