"""Workdirs that cannot be used: one line, exit code 2, and nothing written."""

import json
import shutil

import pytest
from refusals import FILE, GOOD, SMALL, as_it_is, fails, files  # noqa: F401

from bn_jax import cli, devices
from experiments import compare, train


def ended(folder, main, words):
  """The workdir of a command that has run to its end."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(devices, 'set_up', lambda *_: None)
    cli.run(main, [*words, f'--workdir={folder}'])
  return folder


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  return ended(tmp_path_factory.mktemp('trained') / 'run', train.main, GOOD)


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


def a_folder(name):
  def spoil(run):
    (run / name).unlink()
    (run / name).mkdir()

  return spoil


def text(name, value):
  return lambda run: (run / name).write_text(value)


def summary_without(run, **changes):
  path = run / 'summary.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# How a finished run is spoilt, the file that is named, and what is said of it.
SPOILT = [
  (a_folder('config.json'), 'config.json', 'Is a directory'),
  (a_folder('members.json'), 'members.json', 'Is a directory'),
  (a_folder('summary.json'), 'summary.json', 'Is a directory'),
  (a_folder('environment.json'), 'environment.json', 'Is a directory'),
  (a_folder('curves.jsonl'), 'curves.jsonl', 'delete'),
  (text('environment.json', '[1]'), 'environment.json', 'not an object'),
  (text('environment.json', '{}'), 'by bn_jax None', 'go on with'),
  (text('members.json', '{}'), 'members.json', 'not a list'),
  (text('summary.json', '[]'), 'summary.json', 'not an object'),
  (text('summary.json', '{}'), 'summary.json', 'steps, parameters'),
  (text('summary.json', '{"a": '), 'summary.json', 'is not JSON'),
  (
    lambda run: summary_without(run, diverged_at=[1, 2]),
    'summary.json',
    'have the diverged_at of a run of 1 members; delete',
  ),
  (
    lambda run: summary_without(run, **{'test/loss': ['low']}),
    'summary.json',
    'have the test/loss of',
  ),
  (
    lambda run: summary_without(run, seconds=None),
    'summary.json',
    'have the seconds of',
  ),
  (
    lambda run: (run / 'curves.jsonl').unlink(),
    'curves.jsonl',
    'missing though the run has ended; delete',
  ),
]


@pytest.mark.parametrize('case', SPOILT, ids=[f'{c[1:]}' for c in SPOILT])
def test_a_spoilt_run(case, trained, capsys, tmp_path):
  """Fault: `Workdir.summary` that is `read`."""
  spoil, *holds = case
  run = tmp_path / 'run'
  shutil.copytree(trained, run)
  spoil(run)
  before = files(run)
  message = fails(capsys, train.main, [*GOOD, f'--workdir={run}'])
  assert message.startswith('workdir: '), message
  for part in holds:
    assert part in message, message
  assert files(run) == before


def test_a_summary_that_was_not_scored_is_no_end(trained, capsys, tmp_path):
  """Of one that was, infinite scores and no speed are: null."""
  run = tmp_path / 'run'
  shutil.copytree(trained, run)
  summary_without(run, steps_per_second=None, **{'test/loss': [None]})
  cli.run(train.main, [*GOOD, f'--workdir={run}'])
  assert 'test loss nan' in capsys.readouterr().out
  path = run / 'summary.json'
  found = json.loads(path.read_text())
  path.write_text(json.dumps({k: found[k] for k in found if '/' not in k}))
  message = fails(capsys, train.main, [*GOOD, f'--workdir={run}'])
  assert 'does not have the test/accuracy, test/loss of' in message


@pytest.fixture(scope='module')
def compared(tmp_path_factory):
  """A study of one trial and two seeds, with its report."""
  folder = tmp_path_factory.mktemp('compared') / 'study'
  return ended(folder, compare.main, STUDY)


STUDY = [
  f'--config={FILE}',
  *SMALL,
  '--strategies=none,batch_norm',
  '--trials=1',
  '--seeds=2',
]
TUNE = 'runs/tune-none'


def a_file_for(name):
  def spoil(study):
    shutil.rmtree(study / name)
    (study / name).write_text('mine')

  return spoil


SPOILT_STUDIES = [
  (text(f'{TUNE}/summary.json', '{}'), f'{TUNE}/summary.json', 'steps'),
  (
    lambda study: (study / TUNE / 'curves.jsonl').unlink(),
    f'{TUNE}/curves.jsonl',
    'is missing though the run has ended',
  ),
  (text(f'{TUNE}/curves.jsonl', ''), f'{TUNE}/curves.jsonl', 'hold the curves'),
  (text(f'{TUNE}/curves.jsonl', '[1]\n'), f'{TUNE}/curves.jsonl', 'delete'),
  (a_file_for('figures'), 'figures', 'is not a folder'),
  (a_file_for('runs'), 'runs', 'is not a folder'),
  (a_file_for(TUNE), TUNE, 'is not a folder'),
  (a_folder('report.html'), 'report.html', 'is a folder; must be a file'),
  (a_folder('choice.json'), 'choice.json', 'is a folder; must be a file'),
  (a_folder('config.json'), 'config.json', 'Is a directory'),
  (a_folder('environment.json'), 'environment.json', 'Is a directory'),
  (text('config.json', '[1]'), 'config.json', 'is not an object'),
  (text('config.json', '{"study": 1}'), 'holds another study', 'cases'),
]


@pytest.mark.parametrize(
  'case', SPOILT_STUDIES, ids=[f'{c[1:]}' for c in SPOILT_STUDIES]
)
def test_a_spoilt_study(case, compared, capsys, tmp_path):
  """Fault: a file in the way of `figures` that is found after hours."""
  spoil, *holds = case
  study = tmp_path / 'study'
  shutil.copytree(compared, study)
  spoil(study)
  before = files(study)
  words = [*STUDY, f'--workdir={study}']
  message = fails(capsys, compare.main, words, began=TUNE in holds[0])
  assert message.startswith('workdir: '), message
  for part in holds:
    assert part in message, message
  assert files(study) == before


@pytest.mark.parametrize('main', [train.main, compare.main])
def test_a_workdir_that_cannot_be(main, capsys, tmp_path):
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'self').symlink_to('self')
  (tmp_path / 'dangling').symlink_to('nowhere')
  words = GOOD if main is train.main else (f'--config={FILE}', *SMALL)
  for path, holds in [
    (tmp_path / 'file', 'is not a folder'),
    (tmp_path / 'file' / 'in' / 'it', 'file is not a folder'),
    (tmp_path / 'self', 'self is a link that leads nowhere'),
    (tmp_path / 'dangling' / 'in', 'dangling is a link that leads nowhere'),
    (tmp_path / ('x' * 300), 'File name too long'),
    ('/proc/bn_jax', 'cannot be written'),
    ('', '--workdir'),
  ]:
    message = fails(capsys, main, [*words, f'--workdir={path}'])
    assert holds in message, message
  assert list(files(tmp_path).values()) == [b'mine']


@pytest.mark.parametrize('main', [train.main, compare.main])
def test_a_workdir_of_claims(main, capsys, tmp_path):
  """Fault: a run that is mixed with the results of the claims."""
  (tmp_path / 'claims_run.json').write_text('{"quick": true}')
  words = GOOD if main is train.main else (f'--config={FILE}', *SMALL)
  message = fails(capsys, main, [*words, f'--workdir={tmp_path}'])
  assert f'{tmp_path} holds claims, of experiments.claims' in message
  assert [p.name for p in files(tmp_path)] == ['claims_run.json']


def test_a_reproduction_of_a_name_that_is_too_long(capsys, tmp_path):
  words = [f'--reproduce={"x" * 300}', f'--workdir={tmp_path / "new"}']
  assert 'File name too long' in fails(capsys, compare.main, words)


def test_a_run_is_not_a_study_and_a_study_not_a_run(trained, compared, capsys):
  """Fault: the first field that a study, or a run, does not have."""
  words = [f'--config={FILE}', *SMALL, f'--workdir={trained}']
  assert 'holds a run, of experiments.train' in fails(
    capsys, compare.main, words
  )
  words = [*GOOD, f'--workdir={compared}']
  assert 'holds a study, of experiments.compare' in fails(
    capsys, train.main, words
  )
