"""Workdirs that cannot be used: one line, exit code 2, and nothing written."""

import shutil

import pytest
from refusals import FILE, GOOD, SMALL, as_it_is, fails, files  # noqa: F401

from bn_jax import cli, devices
from experiments import compare, train


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run that was trained to its end."""
  folder = tmp_path_factory.mktemp('trained') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(devices, 'set_up', lambda *_: None)
    cli.run(train.main, [*GOOD, f'--workdir={folder}'])
  return folder


def other_config(run):
  return [*GOOD, '--config.batch_size=50'], 'batch_size is 100 there, 50 here'


def other_member(run):
  words = [*GOOD, '--config.optimizer.learning_rate=3']
  return words, 'learning_rate is 0.1 there, 3.0 here'


def field_of_another_version(run):
  path = run / 'config.json'
  path.write_text(path.read_text().replace('"seed"', '"sed"', 1))
  return GOOD, 'is there only'


def other_version(run):
  path = run / 'environment.json'
  path.write_text(path.read_text().replace('"bn_jax": "', '"bn_jax": "9'))
  return GOOD, 'was made by bn_jax 90.1.0, this is 0.1.0'


def no_json(run):
  (run / 'config.json').write_text('{"seed": ')
  return GOOD, 'is not JSON'


def no_members(run):
  (run / 'members.json').unlink()
  return GOOD, 'members is None there'


def strange_json(run):
  (run / 'config.json').write_text('[1, 2]')
  return GOOD, "config.json is not an object but '[1, 2]'; delete it"


@pytest.mark.parametrize(
  'spoil',
  [
    other_config,
    other_member,
    field_of_another_version,
    other_version,
    no_json,
    no_members,
    strange_json,
  ],
)
def test_a_workdir_of_another_run(spoil, trained, capsys, tmp_path):
  """Fault: a `check` that compares no more than the config."""
  run = tmp_path / 'run'
  shutil.copytree(trained, run)
  words, holds = spoil(run)
  before = files(run)
  message = fails(capsys, train.main, [*words, f'--workdir={run}'])
  assert message.startswith('workdir: ') and holds in message, message
  assert files(run) == before


@pytest.mark.parametrize('main', [train.main, compare.main])
def test_a_workdir_that_cannot_be(main, capsys, tmp_path):
  (tmp_path / 'file').write_text('mine')
  words = GOOD if main is train.main else (f'--config={FILE}', *SMALL)
  for path, holds in [
    (tmp_path / 'file', 'is not a folder'),
    (tmp_path / 'file' / 'in' / 'it', 'file is not a folder'),
    ('/proc/bn_jax', 'cannot be written'),
    ('', '--workdir'),
  ]:
    message = fails(capsys, main, [*words, f'--workdir={path}'])
    assert holds in message, message
  assert list(files(tmp_path).values()) == [b'mine']


def test_a_run_is_not_a_study_and_a_study_not_a_run(trained, capsys):
  words = [f'--config={FILE}', *SMALL, f'--workdir={trained}']
  assert 'holds another study' in fails(capsys, compare.main, words)
