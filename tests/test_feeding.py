"""A set that streams gives the curves that it gives from memory."""

import signal

import numpy as np
import pytest
import tiny
import tiny_sets

from bn_jax import feeding, layout, stopping, train
from bn_jax.data import stream
from bn_jax.rounds import Rounds

pytest.importorskip('grain')

ONE = [tiny.member(3, optimizer__learning_rate=0.1)]
SEVERAL = [
  tiny.member(seed, optimizer__learning_rate=rate)
  for seed, rate in ((3, 0.1), (4, 0.3), (3, 0.2))
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sets')
  tiny_sets.tiny(folder, splits=(('train', 120), ('test', 25)))
  return folder


@pytest.fixture
def fit(folder, num_devices, tmp_path):
  num_devices(2)

  def fit(in_memory, members, workdir=None, **fields):
    """What a run leaves, but for how long it took."""
    small = {
      'num_train_steps': 30,
      'model__width': 4,
      'model__depth': 1,
      'data__name': 'tiny',
      'data__data_dir': str(folder),
      'data__validation_fraction': 0.25,
      'data__in_memory': in_memory,
    }
    config = tiny.config(('batch_norm',), **{**small, **fields})
    path = tmp_path / (workdir or str(in_memory))
    summary = train.fit(config, members, path, test=True)
    for name in ('seconds', 'steps_per_second'):
      summary.pop(name)
    return (path / 'curves.jsonl').read_text().splitlines(), summary

  return fit


@pytest.fixture
def small_pieces(monkeypatch):
  """A row of the curves at a time; 30 = 4 x 7 + 2 in an evaluation."""
  monkeypatch.setattr(feeding, 'PIECE_BYTES', 0)
  monkeypatch.setattr(feeding, 'EVAL_BATCH', 7)


@pytest.mark.parametrize(
  'members, data', [(SEVERAL, 1), (ONE, 2)], ids=['several', 'split']
)
def test_both_feeds_give_the_same_curves(fit, members, data):
  """Value for value.

  Fault: the batch after; members that get the first one's; a device's rows
  in the wrong order.
  """
  wanted = fit(True, members, mesh__data=data)
  assert fit(False, members, mesh__data=data) == wanted


def test_pieces_do_not_show(fit, small_pieces):
  """Fault: curves of the last piece alone; an evaluation without its last."""
  wanted = fit(True, SEVERAL)
  assert fit(False, SEVERAL) == wanted
  assert len(wanted[0]) == 8  # of step 0, of three chunks twice, and the test


def test_a_streamed_run_that_is_stopped_goes_on(fit, small_pieces, monkeypatch):
  """Stopped while it reads; resumed in the middle.

  Fault: a stream that always starts at step 0; a read that goes on.
  """
  wanted = fit(False, SEVERAL)
  opened, given = [], []

  def stop(part, seed, first_step, *args, **options):
    opened.append(first_step)
    for i, batch in enumerate(read(part, seed, first_step, *args, **options)):
      given.append(first_step + i)
      if given[-1] == 22:
        signal.raise_signal(signal.SIGTERM)
      yield batch

  read = stream.stream
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(stream, 'stream', stop)
    with pytest.raises(stopping.Stopped, match='at step 20 of 30'):
      fit(False, SEVERAL, 'stopped')
  assert set(opened) == {0} and given[-1] == 22
  monkeypatch.setattr(
    stream, 'stream', lambda *a, **o: opened.append(a[2]) or read(*a, **o)
  )
  del opened[:]
  assert fit(False, SEVERAL, 'stopped') == wanted
  assert opened == [20, 20]  # one stream for each of two seeds


def streamed(part, seeds, num_devices, data=1, **fields):
  """A feed for members with these seeds."""
  num_devices(4)
  config = tiny.config(data__in_memory=False, mesh__data=data, **fields)
  made = feeding.feed(config.to_dict(), part, layout.layout(len(seeds), data))
  return made.with_seeds(np.array(seeds, np.uint32))


class Counting:
  """A part that notes what is read of it."""

  image_shape, image_dtype = (6,), np.dtype(np.float32)

  def __init__(self, part):
    self.part, self.read_ = part, []
    self.num_examples = part.num_examples

  def read(self, indices):
    self.read_ += [*indices]
    return self.part.read(indices)


def test_a_stream_is_read_once(num_devices, monkeypatch):
  """Over chunks and pieces, whoever shares a seed; and not past the end.

  Fault: readers that are opened for each chunk.
  """
  monkeypatch.setattr(feeding, 'PIECE_BYTES', 0)
  part = Counting(tiny.dataset().train)
  feed = streamed(part, [3, 4, 3], num_devices)  # 20 steps in chunks of 10
  for first in (0, 10):
    pieces = list(feed.pieces(first, 10))
    assert [x['label'].shape for x in pieces] == [(3, 1, 5, tiny.BATCH)] * 2
  assert len(part.read_) == 2 * 20 * tiny.BATCH
  again = next(feed.pieces(10, 10))  # as after a lack of memory
  np.testing.assert_array_equal(again['label'], pieces[0]['label'])


def test_a_process_reads_the_rows_of_its_devices():
  """Fault: all rows; the union over slots."""

  class Sharding:
    """Of 3 processes of 2 devices, 3 of which share a batch: the second."""

    def addressable_devices_indices_map(self, shape):
      one, two = slice(0, 1), slice(1, 2)
      every = slice(None)
      assert shape == (2, 1, 1, 12)
      return {
        0: (one, every, every, slice(8, None)),
        1: (two, every, every, slice(0, 4)),
      }

  found = feeding._spans(Sharding(), (2, 1, 1, 12), 0, 3)
  assert found == {0: (8, 12), 1: (0, 4)}


def test_batches_count_when_members_are_spread_over_rounds(num_devices):
  """Fault: `Rounds._fitting` without `batch_bytes`."""
  num_devices(1)
  config = tiny.config(data__in_memory=False).to_dict()
  needs = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      layout, 'members_at_a_time', lambda *args: needs.append(args) or args[0]
    )
    Rounds(config, tiny.dataset(), SEVERAL)
    config['data']['in_memory'] = True
    Rounds(config, tiny.dataset(), SEVERAL)
  (_, _, streams, nothing, _), (_, _, holds, data, _) = needs
  assert nothing == 0
  assert data == 96 * (6 + 1) * 4
  # Two pieces of 2 rows of 5 steps.
  assert streams - holds == 2 * 10 * tiny.BATCH * 6 * 4
