import importlib.util
import itertools

import numpy as np
import pytest
import tiny_sets

from bn_jax import data
from bn_jax.data import source, stream
from bn_jax.data.order import batch_indices, eval_batches
from bn_jax.errors import UserError

needs_grain = pytest.mark.skipif(
  importlib.util.find_spec('grain') is None, reason='grain is not installed'
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sets')
  tiny_sets.tiny(folder)
  return folder


@pytest.fixture(scope='module')
def parts(folder):
  """The training part, held and read."""
  return [
    tiny_sets.load(folder, in_memory=in_memory).train
    for in_memory in (True, False)
  ]


def same(batches, images, labels):
  batches = list(batches)
  assert len(batches) == len(images)
  for batch, image, label in zip(batches, images, labels, strict=True):
    assert set(batch) == {'image', 'label'}
    assert batch['image'].dtype == np.uint8
    assert batch['label'].dtype == np.int32
    np.testing.assert_array_equal(batch['image'], image)
    np.testing.assert_array_equal(batch['label'], label)


@needs_grain
@pytest.mark.parametrize('streamed', [0, 1])
@pytest.mark.parametrize('first_step', [0, 17])
@pytest.mark.parametrize('num_threads', [1, 4])
def test_both_paths_give_the_same_batches(
  parts, streamed, first_step, num_threads
):
  held = parts[0]
  indices = batch_indices(3, first_step, 20, 10, held.num_examples)
  batches = stream.stream(
    parts[streamed], 3, first_step, 20, 10, num_threads=num_threads
  )
  same(batches, held.image[indices], held.label[indices])


@needs_grain
def test_a_process_reads_its_rows(parts):
  held, read = parts
  indices = batch_indices(3, 5, 4, 10, held.num_examples)[:, 5:10]
  batches = stream.stream(read, 3, 5, 4, 10, rows=slice(5, 10))
  same(batches, held.image[indices], held.label[indices])


@needs_grain
def test_series_stream_too(own_sets):
  series = data.load({'name': 'mnist1d'}).train
  batch = next(stream.stream(series, 0, 0, 5, 100))
  indices = batch_indices(0, 0, 1, 100, 3600)[0]
  np.testing.assert_array_equal(batch['image'], series.image[indices])


@needs_grain
def test_an_endless_run_starts_at_once(parts):
  batches = stream.stream(parts[1], 0, 10**6, 10**9, 10)
  assert len(list(itertools.islice(batches, 3))) == 3


@needs_grain
def test_no_more_is_read_than_is_asked_for_ahead(parts):
  part = Counting(parts[0])
  batches = stream.stream(part, 0, 0, 1000, 10, ahead=3, num_threads=1)
  for _ in range(5):
    next(batches)
  assert 5 <= part.reads <= 5 + 3 + 1


class Counting:
  """A part that counts how often it is read."""

  def __init__(self, part):
    self.part, self.reads = part, 0
    self.num_examples = part.num_examples

  def read(self, indices):
    self.reads += 1
    return self.part.read(indices)


@needs_grain
def test_a_damaged_file_ends_in_one_line(folder):
  part = tiny_sets.load(folder, in_memory=False).train

  class Damaged:
    def __getitems__(self, positions):
      raise RuntimeError('bad chunk\nat byte 7')

  part._examples = Damaged()
  with pytest.raises(UserError, match=r'cannot be read \(bad chunk\); ') as got:
    next(stream.stream(part, 0, 0, 5, 10))
  assert '\n' not in str(got.value)


def test_without_grain(parts, monkeypatch):
  monkeypatch.setattr(stream.importlib.util, 'find_spec', lambda _: None)
  with pytest.raises(UserError, match=r'pip install .bn_jax\[stream\]'):
    stream.stream(parts[1], 0, 0, 1, 10)


@pytest.mark.parametrize('batch_size', [1, 7, 36, 50])
def test_evaluation_streams_what_eval_batches_stacks(parts, batch_size):
  held, read = parts
  want = eval_batches(held, batch_size)
  got = list(stream.eval_stream(read, batch_size))
  assert len(got) == len(want['mask'])
  for i, batch in enumerate(got):
    for key in ('image', 'label', 'mask'):
      np.testing.assert_array_equal(batch[key], want[key][i])
      assert batch[key].dtype == want[key].dtype


@needs_grain
def test_real_images_stream():
  real = tiny_sets.real_folder()
  fields = dict(limit=300, validation_fraction=0.5)
  held = tiny_sets.load(real, 'mnist', **fields).train
  read = tiny_sets.load(real, 'mnist', in_memory=False, **fields).train
  assert isinstance(read, source.Source)
  indices = batch_indices(1, 9, 6, 60, 300)
  batches = stream.stream(read, 1, 9, 6, 60)
  same(batches, held.image[indices], held.label[indices])
