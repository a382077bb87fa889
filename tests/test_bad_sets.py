"""Sets of examples that cannot be used: one line, code 2, nothing written."""

import os
import shutil

import pytest
import tiny_sets
from refusals import FILE, SMALL, as_it_is, refused  # noqa: F401

from bn_jax.data import stream


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A set that can be used; tests spoil copies of it."""
  folder = tmp_path_factory.mktemp('sets')
  tiny_sets.tiny(folder)
  return folder


def no_info(folder):
  """As a preparation that was killed leaves it."""
  (folder / 'tiny' / '1.0.0' / 'dataset_info.json').unlink()
  return [], 'is not whole', 'dataset_info.json'


def no_features(folder):
  (folder / 'tiny' / '1.0.0' / 'features.json').unlink()
  return [], "data.name: 'tiny'"


def info_in_pieces(folder):
  info = folder / 'tiny' / '1.0.0' / 'dataset_info.json'
  info.write_text(info.read_text()[:100])
  return [], 'is not whole'


def shard(folder):
  (found,) = folder.glob('tiny/1.0.0/*train*record*')
  return found


def no_shard(folder):
  shard(folder).unlink()
  return [], 'is not whole', 'is missing'


def torn_shard(folder):
  os.truncate(shard(folder), 100)
  return [], 'cannot be read', 'prepare the set again'


def torn_and_streamed(folder):
  """It is read for mean and deviation before anything is written."""
  os.truncate(shard(folder), 100)
  return ['data.in_memory=False'], 'cannot be read'


def empty_folder(folder):
  shutil.rmtree(folder / 'tiny')
  (folder / 'tiny').mkdir()
  return [], "data.name: 'tiny'", 'allowed are|not whole'


def a_file(folder):
  shutil.rmtree(folder)
  folder.write_text('mine')
  return [], 'data.data_dir', 'is not a folder'


def another_set(folder):
  return ['data.name=tinny'], "data.name: 'tinny'", 'tiny'


def text(folder):
  words = ['data.name=imdb_reviews']
  return words, 'imdb_reviews', 'not a set for image classification'


def numbers(folder):
  import tensorflow_datasets as tfds

  shutil.rmtree(folder / 'tiny')
  tiny_sets.tiny(
    folder, features={'y': tfds.features.ClassLabel(num_classes=3)}
  )
  return [], 'not a set for image classification', '0 are an image'


def one_class(folder):
  shutil.rmtree(folder / 'tiny')
  tiny_sets.tiny(folder, label=lambda i: 1)
  return [], "of the class 'bee'", 'needs two'


def one_example(folder):
  return ['data.limit=1'], 'data.limit', 'needs two'


def small(folder):
  return ['batch_size=37'], 'batch_size: 37', '1 to 36 are allowed'


def no_grain(folder):
  return ['data.in_memory=False'], 'data.in_memory', "'bn_jax[stream]'"


@pytest.mark.parametrize(
  'spoil',
  [
    no_info,
    no_features,
    info_in_pieces,
    no_shard,
    torn_shard,
    torn_and_streamed,
    empty_folder,
    a_file,
    another_set,
    text,
    numbers,
    one_class,
    one_example,
    small,
    no_grain,
  ],
)
def test_a_set_that_cannot_be_used(
  spoil, prepared, capsys, tmp_path, monkeypatch
):
  """Fault: `_check_whole` that looks at nothing; no `stream.check`."""
  folder = tmp_path / 'sets'
  shutil.copytree(prepared, folder)
  words, *holds = spoil(folder)
  capsys.readouterr()  # what TFDS says when it prepares
  if spoil is no_grain:
    monkeypatch.setattr(stream.importlib.util, 'find_spec', lambda _: None)
  message = refused(
    capsys,
    tmp_path / 'run',
    [f'--config={FILE}:none', *SMALL, '--config.batch_size=10']
    + ['--config.data.name=tiny', f'--config.data.data_dir={folder}']
    + [f'--config.{word}' for word in words],
  )
  for part in holds:
    assert any(p in message for p in part.split('|')), message
