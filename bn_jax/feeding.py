"""How batches reach the devices: out of a set that lives there, or streamed.

Both feeds give a program the batch of (seed, step). A chunk of steps arrives
in pieces: one piece of indices, or several of examples that were read ahead
while the devices computed. Each process reads only the rows of its devices.
"""

import copy
import itertools
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from bn_jax import hosts
from bn_jax.data import batch_indices, eval_batches, stream
from bn_jax.layout import Layout

EVAL_BATCH = 1000
# What a process holds of a streamed chunk at a time, unless one row of the
# curves takes more.
PIECE_BYTES = 2**28

_BATCH = PartitionSpec('member', None, None, 'data')
_EVAL = PartitionSpec(None, 'data')


def feed(config: dict, part, layout: Layout) -> '_Feed':
  """The feed that `config.data.in_memory` asks for.

  Args:
    config: A run's config as a nested dict.
    part: The training part, a `Split` or `Source`.
    layout: Of the population's members over the devices.

  Raises:
    UserError: The set streams, and grain is not installed.
  """
  kind = Resident if config['data']['in_memory'] else Streamed
  return kind(config, part, layout)


class _Feed:
  """What both have.

  Attributes:
    data: What a program gets besides its batches, on the devices.
  """

  data: Any = ()

  def __init__(self, config, part, layout):
    self._part, self._layout = part, layout
    self._batch_size, self._every = config['batch_size'], config['log']['every']
    self._num_steps = config['num_train_steps']
    self._rows_in_chunk = config['log']['eval_every'] // self._every
    self._seeds = [0] * layout.slots

  def with_seeds(self, seeds: np.ndarray) -> '_Feed':
    """The same for members with other seeds, one for each slot."""
    other = copy.copy(self)
    other._seeds = seeds.tolist()
    return other

  def _sharding(self, spec):
    return NamedSharding(self._layout.mesh, spec)

  def _shape(self, rows, every, shape, dtype):
    shape = (self._layout.slots, rows, every, self._batch_size, *shape)
    sharding = self._sharding(_BATCH)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  def _eval_size(self, part):
    data = self._layout.mesh.shape['data']
    return -(-min(EVAL_BATCH, part.num_examples) // data) * data


class Resident(_Feed):
  """The examples live on every device; batches are indices."""

  def __init__(self, config, part, layout):
    """Puts the training part on the devices."""
    super().__init__(config, part, layout)
    self.data = hosts.put(part._asdict(), self._sharding(PartitionSpec()))

  def take(self, data, batch):
    """The examples of a batch, traced: `image` and `label`."""
    return jax.tree.map(lambda x: x[batch], data)

  def shapes(self, rows: int, every: int):
    """Shapes of the pieces of a chunk: (slots, rows, every, batch)."""
    return self._shape(rows, every, (), np.int32)

  def batch_bytes(self) -> int:
    """Bytes of batches that a device holds for each member."""
    return 0  # next to nothing

  def first(self):
    """The batches of step 0, as a piece of one row and one step."""
    return self._indices(0, 1, 1)

  def pieces(self, first_step: int, num_steps: int) -> Iterator[Any]:
    """Yields the batches of some steps, (slots, rows, every, batch) int32."""
    yield self._indices(first_step, num_steps, self._every)

  def _indices(self, first_step, num_steps, every):
    size = self._batch_size
    orders = {
      seed: batch_indices(
        seed, first_step, num_steps, size, self._part.num_examples
      ).reshape(-1, every, size)
      for seed in set(self._seeds)
    }
    rows = np.stack([orders[seed] for seed in self._seeds])
    return hosts.put(rows, self._sharding(_BATCH))

  def parts(self, part) -> Iterator[dict[str, Any]]:
    """Yields a part in padded, masked batches, (batches, size, ...)."""
    batches = eval_batches(part, self._eval_size(part))
    yield hosts.put(batches, self._sharding(_EVAL))


class Streamed(_Feed):
  """The examples come from the disk; batches are examples."""

  def __init__(self, config, part, layout):
    """Reads nothing yet.

    Raises:
      UserError: grain is not installed.
    """
    stream.check()
    super().__init__(config, part, layout)
    image = np.empty((0, *part.image_shape), part.image_dtype)
    self._example = image.itemsize * int(np.prod(image.shape[1:]))
    self._readers = {}
    shape = (layout.slots, 1, 1, self._batch_size)
    self._own = _spans(self._sharding(_BATCH), shape, 0, 3)

  def with_seeds(self, seeds: np.ndarray) -> 'Streamed':
    """The same for members with other seeds, one for each slot."""
    other = super().with_seeds(seeds)
    other._readers = {}
    return other

  def take(self, data, batch):
    """The examples of a batch, which it is already."""
    del data
    return batch

  def shapes(self, rows: int, every: int):
    """Shapes of the pieces of a chunk: (slots, rows, every, batch, ...)."""
    rows, part = self._rows(rows), self._part
    return {
      'image': self._shape(rows, every, part.image_shape, part.image_dtype),
      'label': self._shape(rows, every, (), np.int32),
    }

  def batch_bytes(self) -> int:
    """Bytes of batches that a device holds for each member: of two pieces."""
    rows = 2 * self._rows(self._rows_in_chunk)
    return rows * self._row_bytes() // self._layout.mesh.shape['data']

  def _row_bytes(self):
    return self._every * self._batch_size * self._example

  def _rows(self, rows):
    """Rows of the curves in a piece: all of one size, so one program."""
    own = len(self._own) * self._row_bytes()
    # XLA rounds a loop of one round in another way: of many steps, and of many
    # batches below, a piece has two at least.
    least = 2 if self._every == 1 < rows else 1
    sizes = [d for d in range(least, rows + 1) if rows % d == 0]
    return max((d for d in sizes if d * own <= PIECE_BYTES), default=sizes[0])

  def first(self):
    """The batches of step 0, as a piece of one row and one step."""
    found = {key: self._stack(self._open(key, 0, 1), 1) for key in self._keys()}
    return self._place(found, 1, 1)

  def pieces(self, first_step: int, num_steps: int) -> Iterator[Any]:
    """Yields the batches of some steps, (slots, rows, every, batch, ...).

    Raises:
      UserError: A file of the set is damaged.
      Stopped: A signal asked for it.
    """
    rows = self._rows(num_steps // self._every)
    count = rows * self._every
    for step in range(first_step, first_step + num_steps, count):
      read = {key: self._read(key, step, count) for key in self._keys()}
      yield self._place(read, rows, self._every)

  def _key(self, slot):
    """What is read for a slot: a seed's batches, and which rows of them."""
    return self._seeds[slot], self._own[slot]

  def _keys(self):
    return {self._key(slot) for slot in self._own}

  def _read(self, key, step, count):
    """The next batches, from where the last ones ended if that is here."""
    at, batches = self._readers.pop(key, (None, None))
    if at != step:
      end = max(self._num_steps, step + count)
      batches = self._open(key, step, end - step, count)
    stacked = self._stack(batches, count)
    self._readers[key] = step + count, batches
    return stacked

  def _open(self, key, step, num_steps, ahead=1):
    seed, (start, stop) = key
    return stream.stream(
      self._part,
      seed,
      step,
      num_steps,
      self._batch_size,
      rows=slice(start, stop),
      ahead=ahead,
      num_threads=-(-(os.cpu_count() or 1) // len(self._keys())),
    )

  def _stack(self, batches, count):
    found = []
    for batch in itertools.islice(batches, count):
      hosts.give_way()
      found.append(batch)
    return {name: np.stack([b[name] for b in found]) for name in found[0]}

  def _place(self, read, rows, every):
    """Lays out what was read: {key: (steps, rows of the batch, ...)}."""

    def place(name, shape):
      def shard(index):
        slots, batch = range(shape.shape[0])[index[0]], index[3]
        return np.stack([cut(slot, batch) for slot in slots])

      def cut(slot, batch):
        key = self._key(slot)
        values = _within(read[key][name], batch, key[1], shape.shape[3])
        return values.reshape(rows, every, *values.shape[1:])

      return jax.make_array_from_callback(shape.shape, shape.sharding, shard)

    return {k: place(k, shape) for k, shape in self.shapes(rows, every).items()}

  def parts(self, part) -> Iterator[dict[str, Any]]:
    """Yields a part in padded, masked batches, (batches, size, ...).

    Raises:
      UserError: A file of the set is damaged.
      Stopped: A signal asked for it.
    """
    size, sharding = self._eval_size(part), self._sharding(_EVAL)
    (own,) = _spans(sharding, (1, size), 0, 1).values()
    total = -(-part.num_examples // size)
    count = max(2, PIECE_BYTES // (size * self._example))
    starts = [*range(0, max(1, total - 1), count)]
    batches = stream.eval_stream(part, size, rows=slice(*own))

    def place(values):
      return jax.make_array_from_callback(
        (len(values), size, *values.shape[2:]),
        sharding,
        lambda index: _within(values, index[1], own, size),
      )

    for first, end in itertools.pairwise([*starts, total]):
      piece = self._stack(batches, end - first)
      yield {name: place(values) for name, values in piece.items()}


def _within(values, index, own, size):
  """Cuts a slice of a batch out of the rows `own` of it, on axis 1."""
  wanted = range(size)[index]
  return values[:, wanted.start - own[0] : wanted.stop - own[0]]


def _spans(sharding, shape, slot_axis, row_axis):
  """Which rows of a batch this process needs: {slot: (start, stop)}."""
  found = {}
  for index in sharding.addressable_devices_indices_map(shape).values():
    rows = range(shape[row_axis])[index[row_axis]]
    for slot in range(shape[slot_axis])[index[slot_axis]]:
      start, stop = found.get(slot, (rows.start, rows.stop))
      found[slot] = min(start, rows.start), max(stop, rows.stop)
  return found
