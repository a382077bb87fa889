import json
import os
import pathlib
import shutil
import time

import numpy as np
import pytest
import tiny_sets
from tiny_sets import error, load, numbers, tiny

from bn_jax.data import prepare


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sets')
  tiny_sets.tiny(folder)
  return folder


@pytest.fixture(scope='module')
def real():
  return tiny_sets.real_folder()


@pytest.fixture
def copy(prepared, tmp_path):
  """A folder of its own, to be spoiled."""
  shutil.copytree(prepared, tmp_path / 'copy')
  return tmp_path / 'copy'


@pytest.fixture
def version(copy):
  return copy / 'tiny' / '1.0.0'


def without_tensorflow(monkeypatch):
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: False)


def test_a_set_that_is_not_prepared(prepared, monkeypatch):
  without_tensorflow(monkeypatch)
  before = sorted(os.listdir(prepared))
  start = time.monotonic()
  message = error(prepared, 'cifar10')
  assert time.monotonic() - start < 3
  assert message.startswith(
    f"data.name: 'cifar10' is not prepared in {prepared} (which holds tiny); "
  )
  assert 'pip install tensorflow-cpu' in message
  assert sorted(os.listdir(prepared)) == before


def test_the_wrong_level_of_the_folder(prepared, monkeypatch):
  without_tensorflow(monkeypatch)
  assert '(which holds 1.0.0)' in error(prepared / 'tiny', 'mnist')


class Connection:
  def close(self):
    pass


def with_tensorflow(monkeypatch, connect):
  """As if TensorFlow were there, and the network as `connect` has it."""
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: True)
  monkeypatch.setattr(prepare, 'hide_devices', lambda: None)
  monkeypatch.setattr(prepare, '_SECONDS', 0.3)
  monkeypatch.setattr(prepare.socket, 'create_connection', connect)


def hang(*_, **__):
  time.sleep(5)
  refuse()


def refuse(*_, **__):
  raise OSError('unreachable')


@pytest.mark.parametrize('connect', [hang, refuse])
def test_no_network_is_found_out_at_once(tmp_path, monkeypatch, connect):
  with_tensorflow(monkeypatch, connect)
  monkeypatch.delenv('https_proxy', raising=False)
  start = time.monotonic()
  message = error(tmp_path, 'cifar10')
  assert time.monotonic() - start < 3
  assert f"'cifar10' is not prepared in {tmp_path}, and no answer" in message
  assert 'www.cs.toronto.edu:443' in message
  line = prepare.in_python('cifar10')
  assert line in message and len(compile(line, '', 'eval').co_names) == 3
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
  'name, message',
  [('cifar10', 'disk full'), ('cifar100', 'RuntimeError')],
)
def test_a_preparation_that_fails(tmp_path, monkeypatch, name, message):
  import tensorflow_datasets as tfds

  with_tensorflow(monkeypatch, lambda *_, **__: Connection())

  def fail(self, file_format):
    assert file_format == 'array_record'
    raise OSError('disk full\nmore') if name == 'cifar10' else RuntimeError()

  monkeypatch.setattr(tfds.core.DatasetBuilder, 'download_and_prepare', fail)
  assert error(tmp_path, name).endswith(f'in {tmp_path}: {message}')


def test_a_set_that_can_be_prepared_is(tmp_path, monkeypatch, real):
  import tensorflow_datasets as tfds

  with_tensorflow(monkeypatch, lambda *_, **__: Connection())

  def copy(self, file_format):
    shutil.copytree(pathlib.Path(real, 'mnist', '3.0.1'), self.data_dir)
    self.info.read_from_directory(self.data_dir)

  monkeypatch.setattr(tfds.core.DatasetBuilder, 'download_and_prepare', copy)
  assert load(tmp_path, 'mnist', limit=30).train.image.shape == (30, 28, 28, 1)


def test_hosts_are_those_of_the_proxy_where_there_is_one(monkeypatch):
  class Builder:
    url_infos = dict.fromkeys(
      ['https://a.org/x', 'http://b.org/x', 'http://b.org:81/y', 'odd'], None
    )

  for name in ('http_proxy', 'https_proxy', 'all_proxy'):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(name.upper(), raising=False)
  assert prepare._hosts(Builder) == {'a.org:443', 'b.org:80', 'b.org:81'}
  monkeypatch.setenv('https_proxy', 'http://proxy:3128')
  assert prepare._hosts(Builder) == {'proxy:3128', 'b.org:80', 'b.org:81'}


def test_one_host_that_answers_is_enough(monkeypatch):
  def connect(address, timeout):
    if address[0] != 'good':
      refuse()
    time.sleep(0.1)  # the others have answered by then
    return Connection()

  with_tensorflow(monkeypatch, connect)
  assert prepare.reachable({'bad:1', 'good:2', 'worse:3'})
  assert not prepare.reachable({'bad:1'})


def spoil_info(version):
  (version / 'dataset_info.json').unlink()


def spoil_json(version):
  (version / 'dataset_info.json').write_text('{"name": ')


def spoil_features(version):
  (version / 'features.json').write_text('{"name": ')


def spoil_shard(version):
  next(version.glob('*train*')).unlink()


def spoil_emptied(version):
  for file in version.iterdir():
    file.unlink()


@pytest.mark.parametrize(
  'spoil', [spoil_info, spoil_json, spoil_features, spoil_shard]
)
def test_a_half_prepared_folder(copy, version, spoil):
  spoil(version)
  message = error(copy)
  assert "'tiny' in " in message and ' is not whole (' in message
  assert 'delete its folder and prepare the set again' in message


@pytest.mark.parametrize('spoil', [spoil_info, spoil_json, spoil_emptied])
def test_a_half_prepared_folder_of_the_catalogue(
  real, tmp_path, spoil, monkeypatch
):
  with_tensorflow(monkeypatch, refuse)
  whole = tmp_path / 'mnist' / '3.0.1'
  shutil.copytree(pathlib.Path(real, 'mnist', '3.0.1'), whole)
  spoil(whole)
  assert ' is not whole (' in error(tmp_path, 'mnist')


def test_a_preparation_that_was_interrupted(copy, version):
  version.rename(version.with_name('incomplete.ABC_1.0.0'))
  assert error(copy).startswith("data.name: 'tiny'")


@pytest.mark.parametrize('keep', [0, 10, 65536, -1])
def test_a_file_cut_short(copy, version, keep):
  for file in version.glob('*.array_record*'):
    file.write_bytes(file.read_bytes()[:keep])
  message = error(copy)
  assert "a file of 'tiny' cannot be read (" in message


def test_tfrecord_needs_tensorflow(copy, version, monkeypatch):
  without_tensorflow(monkeypatch)
  info = json.loads((version / 'dataset_info.json').read_text())
  info['fileFormat'] = 'tfrecord'
  (version / 'dataset_info.json').write_text(json.dumps(info))
  for file in list(version.glob('*.array_record*')):
    file.rename(str(file).replace('array_record', 'tfrecord'))
  message = error(copy)
  assert "'tiny' is prepared as tfrecord, which needs TensorFlow" in message
  assert 'pip install tensorflow-cpu' in message
  message = error(copy, in_memory=False)
  assert 'data.in_memory=False needs array_record' in message


@pytest.mark.skipif(
  not prepare.has_tensorflow(), reason='TensorFlow is not installed'
)
def test_tfrecord_is_the_same_set(tmp_path, prepared):
  tiny(tmp_path, file_format='tfrecord')
  got, want = load(tmp_path), load(prepared)
  for part in ('train', 'validation', 'test'):
    assert numbers(getattr(got, part)) == numbers(getattr(want, part))
  np.testing.assert_array_equal(got.mean, want.mean)
