import itertools
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_sets
from tiny_sets import error, load, numbers, tiny

from bn_jax import data
from bn_jax.data import prepare, source


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sets')
  tiny_sets.tiny(folder)
  return folder


@pytest.fixture(scope='module')
def real():
  return tiny_sets.real_folder()


@pytest.mark.parametrize('in_memory', [True, False])
def test_parts_of_a_set_found_by_the_types_of_its_features(prepared, in_memory):
  d = load(prepared, in_memory=in_memory)
  train, validation = numbers(d.train), numbers(d.validation)
  assert sorted(train + validation) == list(range(40))
  assert len(validation) == 4
  assert sorted(numbers(d.test)) == list(range(100, 110))
  assert d.num_classes == 3 and d.label_names == ('ant', 'bee', 'cat')
  for part in (d.train, d.validation, d.test):
    assert part.image_shape == (4, 3, 3) and part.image_dtype == np.uint8
    image, label = part.read([1, 0])
    assert image.shape == (2, 4, 3, 3) and image.dtype == np.uint8
    assert label.dtype == np.int32
    np.testing.assert_array_equal(label, image[:, 0, 0, 0] % 3)
    assert part.read([]).image.shape == (0, 4, 3, 3)
  assert d.mean.shape == d.std.shape == (3,)
  np.testing.assert_allclose(d.mean, np.mean(train), rtol=1e-6)
  np.testing.assert_allclose(d.std, np.std(train), rtol=1e-6)


def test_in_memory_and_not_are_the_same(prepared):
  held, read = load(prepared), load(prepared, in_memory=False)
  assert isinstance(held.train, data.Split)
  assert isinstance(read.train, source.Source)
  for part in ('train', 'validation', 'test'):
    assert numbers(getattr(held, part)) == numbers(getattr(read, part))
  np.testing.assert_array_equal(held.mean, read.mean)
  np.testing.assert_array_equal(held.std, read.std)


def test_slabs_put_every_example_in_its_place(prepared, monkeypatch):
  want = load(prepared)
  monkeypatch.setattr(source, '_SLAB', 7)
  got = load(prepared)
  np.testing.assert_array_equal(got.train.image, want.train.image)
  np.testing.assert_array_equal(got.train.label, want.train.label)
  np.testing.assert_array_equal(got.mean, want.mean)


def test_only_what_the_limit_lets_through_is_decoded(prepared, monkeypatch):
  decoded = []
  whole = source.Source.read

  def read(self, indices):
    decoded.append(len(indices))
    return whole(self, indices)

  monkeypatch.setattr(source.Source, 'read', read)
  assert numbers(load(prepared, limit=3).train)
  assert sum(decoded) < 20


def test_one_channel(tmp_path):
  tiny(tmp_path, shape=lambda i: (5, 4, 1))
  d = load(tmp_path)
  assert d.train.image.shape == (36, 5, 4, 1)
  assert d.mean.shape == (1,)


@pytest.mark.parametrize(
  'splits, where',
  [
    ((('train', 40), ('validation', 10)), range(100, 110)),
    ((('train', 40), ('validation', 5), ('test', 10)), range(200, 210)),
  ],
)
def test_validation_is_the_test_part_where_there_is_no_test(
  tmp_path, splits, where
):
  tiny(tmp_path, splits=splits)
  assert sorted(numbers(load(tmp_path).test)) == list(where)


def test_a_test_split_without_labels_is_passed_over(tmp_path):
  tiny(
    tmp_path,
    splits=(('train', 40), ('test', 10), ('validation', 10)),
    label=lambda i: -1 if 100 <= i < 200 else i % 3,
  )
  assert sorted(numbers(load(tmp_path).test)) == list(range(200, 210))


def test_a_set_with_one_split_gives_its_test_part_whatever_the_seed(tmp_path):
  tiny(tmp_path, splits=(('train', 50),))
  parts = [load(tmp_path, seed=seed) for seed in (0, 1)]
  for d in parts:
    got = [numbers(p) for p in (d.train, d.validation, d.test)]
    assert [len(g) for g in got] == [41, 4, 5]  # of the 45 left, 4.5
    assert sorted(itertools.chain(*got)) == list(range(50))
  assert numbers(parts[0].test) == numbers(parts[1].test)
  assert numbers(parts[0].validation) != numbers(parts[1].validation)


def test_the_set_says_which_of_two_images_and_labels(tmp_path):
  import tensorflow_datasets as tfds

  features = {
    'image': tfds.features.Image(shape=(4, 3, 3)),
    'outline': tfds.features.Image(shape=(4, 3, 3)),
    'species': tfds.features.ClassLabel(num_classes=3),
    'breed': tfds.features.ClassLabel(num_classes=5),
    'number': tfds.features.Scalar(np.int64),
  }
  tiny(tmp_path, 'clear', features, supervised=('image', 'breed'))
  assert load(tmp_path, 'clear').num_classes == 5
  assert load(tmp_path, 'clear').label_names == ('0', '1', '2', '3', '4')
  tiny(tmp_path, 'unclear', features)
  assert '2 are an image; 1 must be' in error(tmp_path, 'unclear')


def test_images_of_different_sizes(tmp_path):
  tiny(tmp_path, shape=lambda i: (4 + i % 2, 3, 3))
  assert 'data.image_size=N' in error(tmp_path)
  d = load(tmp_path, image_size=8)
  assert d.train.image.shape == (36, 8, 8, 3)
  assert numbers(d.train) == numbers(load(tmp_path, image_size=2).train)


def test_resize_takes_the_middle_square():
  image = np.zeros((4, 8, 3), np.uint8)
  image[:, 2:6] = 200  # the middle
  assert (source.resize(image, 2) == 200).all()
  tall = image.swapaxes(0, 1)
  assert (source.resize(tall, 2) == 200).all()
  assert source.resize(image[..., :1], 7).shape == (7, 7, 1)
  ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8)[:, None], (1, 16))
  half = source.resize(ramp[..., None], 8)[..., 0]
  np.testing.assert_allclose(half[2:-2, 0], np.arange(45, 125, 20), atol=1)


def test_version_and_older_version(prepared, real, tmp_path):
  found = load(prepared, 'tiny:1.0.0', limit=5)
  assert found.num_classes == 3 and found.source == 'tiny/1.0.0'
  shutil.copytree(
    pathlib.Path(real, 'mnist', '3.0.1'), tmp_path / 'mnist' / '3.0.0'
  )
  found = load(tmp_path, 'mnist', limit=20)
  assert found.num_classes == 10 and found.source == 'mnist/3.0.1'


def silent(script):
  run = subprocess.run(
    [sys.executable, '-c', f'from bn_jax import data\n{script}'],
    capture_output=True,
    text=True,
    check=True,
  )
  return run.stderr == run.stdout == ''


def test_loading_is_silent(prepared):
  assert silent(f'data.load(dict(name="tiny", data_dir={str(prepared)!r}))')


@pytest.mark.skipif(
  prepare.has_tensorflow(), reason='TensorFlow talks when it is imported'
)
def test_a_set_that_needs_tensorflow_is_refused_without_a_banner(prepared):
  fields = dict(name='coco', data_dir=str(prepared))
  assert 'No module named' in error(prepared, 'coco')
  assert silent(
    f'try: data.load({fields})\nexcept data.loading.UserError: pass'
  )


def test_mnist1d_imports_neither_tfds_nor_jax(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))  # it is made, too
  script = """
import sys
from bn_jax import data
data.load({'name': 'mnist1d'})
print([m for m in ('tensorflow_datasets', 'jax', 'rich') if m in sys.modules])
"""
  run = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, text=True, check=True
  )
  assert run.stdout.strip() == '[]'


@pytest.mark.parametrize(
  'name, means, stds',
  [
    ('mnist', (0.1307, 0.1325), (0.3081, 0.3105)),
    ('fashion_mnist', (0.2860, 0.2868), (0.3530, 0.3524)),
  ],
)
def test_real_sets(real, name, means, stds):
  d = load(real, name)
  assert d.train.image.shape == (54000, 28, 28, 1)
  assert d.validation.image.shape == (6000, 28, 28, 1)
  assert d.test.image.shape == (10000, 28, 28, 1)
  both = np.concatenate([d.train.image, d.validation.image]) / 255
  np.testing.assert_allclose(both.mean(), means[0], atol=6e-5)
  np.testing.assert_allclose(both.std(), stds[0], atol=6e-5)
  np.testing.assert_allclose((d.test.image / 255).mean(), means[1], atol=6e-5)
  np.testing.assert_allclose((d.test.image / 255).std(), stds[1], atol=6e-5)
  np.testing.assert_allclose(d.mean / 255, means[0], atol=1e-3)
  np.testing.assert_allclose(d.std / 255, stds[0], atol=1e-3)
  counts = np.bincount(d.train.label) + np.bincount(d.validation.label)
  assert counts.sum() == 60000
  if name == 'mnist':
    assert counts.tolist() == [
      5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert d.label_names == tuple('0123456789')
  else:
    assert counts.tolist() == [6000] * 10
    assert d.label_names[9] == 'Ankle boot'
