import os
import random

import ml_collections
import numpy as np
import pytest

from bn_jax import data
from bn_jax.data import dataset, mnist1d
from bn_jax.errors import UserError

pytestmark = pytest.mark.usefixtures('own_sets')


def config(**fields):
  return ml_collections.ConfigDict({'name': 'mnist1d', **fields})


@pytest.fixture(scope='module')
def series(own_sets):
  return data.load(config())


@pytest.fixture(scope='module')
def made(own_sets):
  return mnist1d.arrays()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  return mnist1d.cache_path()


def rows(split):
  return {row.tobytes() for row in split.image}


def test_mnist1d_is_what_its_package_makes(empty_cache):
  """Fault: another seed; seen, since no cache of the user's is read."""
  from mnist1d.data import get_dataset_args, make_dataset

  series = data.load(config())
  made = make_dataset(get_dataset_args())
  np.testing.assert_array_equal(
    series.test.image, made['x_test'].astype(np.float32)
  )
  np.testing.assert_array_equal(series.test.label, made['y_test'])
  both = np.concatenate([series.train.image, series.validation.image])
  assert sorted(map(bytes, both)) == sorted(
    map(bytes, made['x'].astype(np.float32))
  )
  assert series.num_classes == 10 and len(series.label_names) == 10


def test_parts_are_disjoint_and_have_shapes(series):
  assert series.train.image.shape == (3600, 40)
  assert series.validation.image.shape == (400, 40)
  assert series.test.image.shape == (1000, 40)
  assert not rows(series.train) & rows(series.validation)
  for part in (series.train, series.validation, series.test):
    assert part.image.dtype == np.float32 and part.label.dtype == np.int32
    assert len(part.image) == len(part.label) == part.num_examples
    assert part.image_shape == (40,) and part.image_dtype == np.float32


def test_statistics_are_of_the_training_part_alone(series):
  x = series.train.image.astype(np.float64)
  assert series.mean.shape == series.std.shape == (1,)
  assert series.mean.dtype == series.std.dtype == np.float32
  np.testing.assert_allclose(series.mean, [x.mean()], rtol=1e-6, atol=1e-9)
  np.testing.assert_allclose(series.std, [x.std()], rtol=1e-6)


def test_the_seed_fixes_the_split(series):
  assert rows(data.load(config(seed=0)).validation) == rows(series.validation)
  other = data.load(config(seed=1))
  assert rows(other.validation) != rows(series.validation)
  assert rows(other.test) == rows(series.test)


def test_limit_is_of_each_part_and_nested(series):
  small, smaller = data.load(config(limit=50)), data.load(config(limit=20))
  for part in ('train', 'validation', 'test'):
    assert len(getattr(small, part).label) == 50
    assert rows(getattr(smaller, part)) < rows(getattr(small, part))
    assert rows(getattr(small, part)) < rows(getattr(series, part))


def test_limit_takes_from_everywhere():
  # Sets that are sorted by class would otherwise be left with one.
  parts = dataset.split_parts(1000, 0.5, seed=0, limit=20)
  for part in (*parts, dataset.limit_part(1000, seed=0, limit=20)):
    assert len(part) == 20 and part.min() < 200 and part.max() > 800
    assert (np.diff(part) > 0).all()


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(limit=-1), 'data.limit: -1'),
    (dict(limit=1), 'data.limit: 1; all 1 '),
    (dict(validation_fraction=0.0), 'data.validation_fraction: 0;'),
    (dict(validation_fraction=1.0), 'data.validation_fraction: 1;'),
    (dict(validation_fraction=-0.5), 'data.validation_fraction: -0.5'),
    (dict(validation_fraction=float('nan')), 'data.validation_fraction: nan'),
    (dict(validation_fraction=1e-5), '0 to validate on'),
    (dict(validation_fraction=0.99999), '0 to train on'),
  ],
)
def test_bad_fields_end_in_one_line(fields, words):
  with pytest.raises(UserError, match=words) as caught:
    data.load(config(**fields))
  assert '\n' not in str(caught.value)


def test_making_mnist1d_leaves_the_global_generators_alone(empty_cache):
  np.random.seed(7)
  random.seed(7)
  want = np.random.rand(), random.random()
  np.random.seed(7)
  random.seed(7)
  mnist1d.arrays()
  assert (np.random.rand(), random.random()) == want


def test_mnist1d_is_made_once(empty_cache, made, monkeypatch):
  mnist1d._write(empty_cache, made)
  assert os.listdir(empty_cache.parent) == [empty_cache.name]
  monkeypatch.setattr(mnist1d, '_make', None)
  for key, value in mnist1d.arrays().items():
    np.testing.assert_array_equal(value, made[key])


@pytest.mark.parametrize('keep', [0, 100, 0.5, -1])
def test_a_damaged_cache_is_made_again(empty_cache, keep, made, monkeypatch):
  mnist1d._write(empty_cache, made)
  whole = empty_cache.read_bytes()
  cut = int(keep * len(whole)) if isinstance(keep, float) else keep
  empty_cache.write_bytes(whole[:cut])
  monkeypatch.setattr(mnist1d, '_make', lambda: made)
  np.testing.assert_array_equal(mnist1d.arrays()['x'], made['x'])
  assert len(empty_cache.read_bytes()) == len(whole)


def test_a_cache_of_other_shapes_is_made_again(empty_cache, made, monkeypatch):
  mnist1d._write(empty_cache, made)
  np.savez(empty_cache, **{k: v[:10] for k, v in made.items()})
  monkeypatch.setattr(mnist1d, '_make', lambda: made)
  assert len(mnist1d.arrays()['x']) == 4000


def test_no_room_for_a_cache_is_no_error(empty_cache, made, monkeypatch):
  empty_cache.parent.write_text('a file in the way')
  monkeypatch.setattr(mnist1d, '_make', lambda: made)
  assert mnist1d.arrays() is made


def test_a_failed_write_leaves_nothing(empty_cache, made, monkeypatch):
  def fail(file, **_):
    file.write(b'half')
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(np, 'savez', fail)
  mnist1d._write(empty_cache, made)
  assert os.listdir(empty_cache.parent) == []


@pytest.mark.parametrize('channels', [1, 3])
def test_statistics_per_channel_whatever_the_slabs(channels):
  rng = np.random.default_rng(0)
  x = rng.integers(0, 256, (11, 5, 4, channels), dtype=np.uint8)
  x[..., -1] //= 3
  mean, std = dataset.statistics([x[:4], x[4:5], x[5:]])
  wide = x.astype(np.float64)
  np.testing.assert_allclose(mean, wide.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(std, wide.std((0, 1, 2)), rtol=1e-6)


def test_a_constant_channel_has_a_std_of_one():
  mean, std = dataset.statistics([np.full((3, 2, 2, 1), 7, np.uint8)])
  assert mean == [7] and std == [1]


def test_statistics_look_at_all_or_at_an_even_sample(monkeypatch):
  np.testing.assert_array_equal(
    dataset.statistics_positions(5), [0, 1, 2, 3, 4]
  )
  monkeypatch.setattr(dataset, 'STATISTICS_LIMIT', 4)
  np.testing.assert_array_equal(dataset.statistics_positions(8), [0, 2, 4, 6])
  assert len(dataset.statistics_positions(0)) == 0


@pytest.mark.parametrize('batch_size', [1, 3600])
def test_a_batch_that_fits(batch_size):
  dataset.check_batch_size(batch_size, 3600)


@pytest.mark.parametrize('batch_size', [-1, 0, 3601])
def test_a_batch_that_does_not_fit(batch_size):
  with pytest.raises(UserError, match=f'batch_size: {batch_size}; .* 3600'):
    dataset.check_batch_size(batch_size, 3600)
