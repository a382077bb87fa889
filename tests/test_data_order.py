import numpy as np
import pytest

from bn_jax.data import Split, batch_indices, eval_batches, order


def stream(seed, num, num_examples):
  return batch_indices(seed, 0, num, 1, num_examples).ravel()


@pytest.mark.parametrize('num_examples', [1, 7, 100])
def test_each_epoch_is_a_permutation(num_examples):
  epochs = stream(3, 4 * num_examples, num_examples).reshape(4, -1)
  np.testing.assert_array_equal(
    np.sort(epochs), np.tile(np.arange(num_examples), (4, 1))
  )


def test_epochs_and_seeds_differ():
  epochs = stream(3, 300, 100).reshape(3, 100)
  assert len({e.tobytes() for e in epochs}) == 3
  seeds = [stream(s, 100, 100).tobytes() for s in (-1, 0, 1, 2**31)]
  assert len(set(seeds)) == 4


@pytest.mark.parametrize('batch_size', [1, 4, 10, 13, 35])
@pytest.mark.parametrize('chunk', [1, 3, 30])
def test_batches_do_not_depend_on_the_chunks(batch_size, chunk):
  num_examples, steps = 10, 30
  whole = batch_indices(5, 0, steps, batch_size, num_examples)
  chunks = [
    batch_indices(5, first, chunk, batch_size, num_examples)
    for first in range(0, steps, chunk)
  ]
  np.testing.assert_array_equal(np.concatenate(chunks), whole)
  np.testing.assert_array_equal(
    whole.ravel(), stream(5, steps * batch_size, num_examples)
  )


def test_shape_and_dtype():
  indices = batch_indices(0, 17, 3, 4, 10)
  assert indices.shape == (3, 4) and indices.dtype == np.int32
  assert batch_indices(0, 17, 0, 4, 10).shape == (0, 4)


def test_a_caller_cannot_spoil_the_order():
  want = batch_indices(0, 0, 1, 10, 10).copy()
  batch_indices(0, 0, 1, 10, 10)[:] = 0
  np.testing.assert_array_equal(batch_indices(0, 0, 1, 10, 10), want)


def test_the_order_stays_what_it_is():
  # A new NumPy or a new key would silently break resuming an old run.
  np.testing.assert_array_equal(
    batch_indices(0, 0, 2, 5, 10), [[0, 7, 8, 6, 9], [5, 1, 3, 2, 4]]
  )


def test_an_epoch_is_shuffled_once():
  order._epoch.cache_clear()
  for step in range(20):
    batch_indices(9, step, 1, 5, 100)
  assert order._epoch.cache_info().misses == 1


@pytest.mark.parametrize('num_examples', [0, 1, 8, 9, 16])
def test_eval_batches_drop_nothing(num_examples):
  rng = np.random.default_rng(0)
  split = Split(
    rng.integers(0, 256, (num_examples, 3, 2, 1), dtype=np.uint8),
    rng.integers(0, 10, num_examples, dtype=np.int32),
  )
  batches = eval_batches(split, 8)
  num_batches = -(-num_examples // 8)
  assert batches['image'].shape == (num_batches, 8, 3, 2, 1)
  assert batches['label'].shape == batches['mask'].shape == (num_batches, 8)
  assert batches['image'].dtype == np.uint8
  assert batches['label'].dtype == np.int32
  mask = batches['mask']
  assert mask.dtype == bool and mask.sum() == num_examples
  np.testing.assert_array_equal(batches['image'][mask], split.image)
  np.testing.assert_array_equal(batches['label'][mask], split.label)
  assert not batches['image'][~mask].any()
