import numpy as np
import pytest
import tiny_sets
from tiny_sets import error, load, tiny

from bn_jax.data import source


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sets')
  tiny_sets.tiny(folder)
  return folder


def test_a_set_without_labels(tmp_path):
  import tensorflow_datasets as tfds

  tiny(tmp_path, features={'x': tfds.features.Image(shape=(4, 3, 3))})
  assert '(x) 0 are a class label; 1 must be' in error(tmp_path)


def test_a_set_without_images(tmp_path):
  import tensorflow_datasets as tfds

  tiny(tmp_path, features={'y': tfds.features.ClassLabel(num_classes=3)})
  assert '(y) 0 are an image; 1 must be' in error(tmp_path)


def test_a_set_of_text_is_refused_before_it_is_prepared(tmp_path):
  assert 'not a set for image classification' in error(tmp_path, 'imdb_reviews')


def test_a_set_with_one_class(tmp_path):
  import tensorflow_datasets as tfds

  features = {
    'x': tfds.features.Image(shape=(4, 3, 3)),
    'y': tfds.features.ClassLabel(num_classes=1),
  }
  tiny(tmp_path, features=features, label=lambda i: 0)
  assert 'has 1 class;' in error(tmp_path)


@pytest.mark.parametrize('limit, field', [(0, 'name'), (5, 'limit')])
def test_a_training_part_with_one_class(tmp_path, limit, field):
  tiny(tmp_path, label=lambda i: 1)
  assert error(tmp_path, limit=limit).startswith(f'data.{field}: ')
  assert "of the class 'bee'" in error(tmp_path, limit=limit)


def test_training_examples_without_labels(tmp_path):
  tiny(tmp_path, label=lambda i: -1 if i == 17 else i % 3)
  assert 'the label -1; allowed are 0 to 2' in error(tmp_path)


def test_no_split_named_train(tmp_path):
  tiny(tmp_path, splits=(('learn', 40), ('test', 10)))
  assert 'no split named train, but learn, test' in error(tmp_path)


def test_images_of_another_type(tmp_path):
  import tensorflow_datasets as tfds

  features = {
    'x': tfds.features.Image(shape=(4, 3, 1), dtype=np.uint16),
    'y': tfds.features.ClassLabel(num_classes=3),
  }
  folder = tiny(tmp_path, features=features, shape=lambda i: (4, 3, 1))
  assert folder.is_dir()
  assert 'are uint16; allowed are images of uint8' in error(tmp_path)


@pytest.mark.parametrize(
  'name, near',
  [
    ('minst', 'mnist'),
    ('MNIST1D ', 'mnist1d'),
    ('mnist_1d', 'mnist1d'),
    ('cifar_10', 'cifar10'),
    ('tinny', 'tiny'),
    ('fashion-mnist', 'fashion_mnist'),
  ],
)
def test_an_unknown_name_is_answered_with_the_nearest(prepared, name, near):
  message = error(prepared, name)
  assert message.startswith(f'data.name: {name!r} - did you mean ')
  assert near in message


@pytest.mark.parametrize('name', ['', '@', 'a b', 'zzzzzzzzzz', 'kaggle:foo'])
def test_a_name_that_is_near_to_nothing(prepared, name):
  message = error(prepared, name)
  assert message.startswith(f'data.name: {name!r}; allowed are mnist1d and')


@pytest.mark.parametrize('name', ['mnist:9.9.9', 'mnist/nope', 'mnist/a=1'])
def test_an_unknown_version_or_config(prepared, name):
  assert error(prepared, name).startswith(f'data.name: {name!r}: ')


def test_a_folder_that_is_not_there(tmp_path):
  message = error(tmp_path / 'nowhere')
  assert message.startswith('data.data_dir: ')
  assert f"'{tmp_path / 'nowhere'}' is not a folder; " in message
  assert "holds 'tiny'" in message and 'prepared there' in message
  file = tmp_path / 'file'
  file.write_text('')
  assert f"'{file}' is not a folder; " in error(file)


def test_a_set_larger_than_memory(prepared, monkeypatch):
  pages = {'SC_PAGE_SIZE': 1, 'SC_PHYS_PAGES': 36 * 36 * 2 - 1}
  monkeypatch.setattr(source.os, 'sysconf', pages.get)
  assert error(prepared).startswith('data.in_memory: the training part takes')
  assert load(prepared, in_memory=False).train.num_examples == 36
  pages['SC_PHYS_PAGES'] += 1
  load(prepared)
