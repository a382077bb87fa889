"""Batches of a set that is too large to hold: read ahead, by threads.

A batch is a function of (seed, step), as it is in memory: what grain reads is
a sequence whose items are whole batches. To resume is to begin at a step.
"""

import importlib.util
import os
from collections.abc import Iterator

import numpy as np

from bn_jax.data.dataset import Split
from bn_jax.data.order import batch_indices
from bn_jax.data.source import Source
from bn_jax.errors import UserError


class _Batches:
  """The batches of some steps, as a sequence that decodes what is asked for."""

  def __init__(self, part, seed, first_step, num_steps, batch_size, rows):
    self._part, self._rows = part, rows
    self._seed, self._first_step = seed, first_step
    self._num_steps, self._batch_size = num_steps, batch_size

  def __len__(self):
    return self._num_steps

  def __getitem__(self, i):
    indices = batch_indices(
      self._seed,
      self._first_step + i,
      1,
      self._batch_size,
      self._part.num_examples,
    )
    return self._part.read(indices[0, self._rows])._asdict()


class _EvalBatches:
  """A part's batches in order; the last one is filled up with zeros."""

  def __init__(self, part, batch_size, rows):
    self._part, self._batch_size, self._rows = part, batch_size, rows

  def __len__(self):
    return -(-self._part.num_examples // self._batch_size)

  def __getitem__(self, i):
    first = i * self._batch_size
    wanted = np.arange(first, first + self._batch_size)[self._rows]
    mask = wanted < self._part.num_examples
    found = self._part.read(wanted[mask])
    image = np.zeros((len(mask), *found.image.shape[1:]), found.image.dtype)
    label = np.zeros(len(mask), found.label.dtype)
    image[mask], label[mask] = found
    return {'image': image, 'label': label, 'mask': mask}


def stream(
  part: Split | Source,
  seed: int,
  first_step: int,
  num_steps: int,
  batch_size: int,
  *,
  rows: slice = slice(None),
  ahead: int = 8,
  num_threads: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields the batch of each step, from first_step on.

  The batches are those that `batch_indices` names for the same arguments.

  Args:
    part: the training part.
    seed: of the order.
    first_step: the step of the first batch.
    num_steps: how many batches.
    batch_size: examples in a batch, over all processes.
    rows: those of each batch that this process reads.
    ahead: batches that are read ahead of the one in use.
    num_threads: that read and decode; None is one per core, `ahead` at most.

  Yields:
    image (B, ...) and label (B,), as in the part; B is the number of rows.

  Raises:
    UserError: grain, the extra `stream`, is not installed.
  """
  check()
  batches = _Batches(part, seed, first_step, num_steps, batch_size, rows)
  return _ahead(batches, ahead, num_threads)


def eval_stream(
  part: Split | Source,
  batch_size: int,
  *,
  rows: slice = slice(None),
  ahead: int = 8,
  num_threads: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields what `order.eval_batches` stacks: padded, masked batches in order.

  Args:
    part: that is evaluated.
    batch_size: examples in a batch, over all processes.
    rows: those of each batch that this process reads.
    ahead: as for `stream`.
    num_threads: as for `stream`.

  Yields:
    image (B, ...), label (B,) and mask (B,) bool; B is the number of rows.

  Raises:
    UserError: grain, the extra `stream`, is not installed.
  """
  check()
  return _ahead(_EvalBatches(part, batch_size, rows), ahead, num_threads)


def check() -> None:
  """Raises UserError unless grain, the extra `stream`, is installed."""
  if importlib.util.find_spec('grain') is None:
    raise UserError(
      'data.in_memory: False; streaming needs grain: pip install '
      "'bn_jax[stream]'"
    )


def _ahead(batches, ahead, num_threads):
  import grain

  options = grain.ReadOptions(
    num_threads=min(num_threads or os.cpu_count() or 1, ahead),
    prefetch_buffer_size=ahead,
  )
  return iter(grain.MapDataset.source(batches).to_iter_dataset(options))
