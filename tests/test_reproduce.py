"""A finished study runs again, and whether it agrees is said.

Planted and seen: a comparison that looks at the last step alone, that takes
NaN for equal to anything, that forgives a small difference on the same
machine, a tolerance without bound, a repetition in the study's own folder.
"""

import json
import re
import shutil
import types

import numpy as np
import pytest
import synthetic
import tiny

from bn_jax import agreement, config, plots, records, rerun, results
from bn_jax.errors import UserError
from bn_jax.report import study

CURVES = 'runs/final-batch_norm/curves.jsonl'


@pytest.fixture
def pair(tmp_path):
  """Two folders with the same study."""
  first = synthetic.write_study(
    tmp_path / 'first', ('none', 'batch_norm'), range(4), rates=(0.1,),
    diverged={'none': (0,)},
  )  # fmt: skip
  shutil.copytree(first, tmp_path / 'second')
  return first, tmp_path / 'second'


def change(folder, metric, member, row, by):
  """Adds to one number of a run's curves."""
  lines = (folder / CURVES).read_text().splitlines()
  chunks = [json.loads(line) for line in lines]
  for chunk in chunks:
    if metric in chunk['metrics']:
      chunk['metrics'][metric][member][row] += by
  text = ''.join(json.dumps(chunk) + '\n' for chunk in chunks)
  (folder / CURVES).write_text(text)


def move(folder):
  path = folder / 'environment.json'
  synthetic.write_json(path, results.read_json(path) | {'machine': 'arm64'})


def shift(folder, by):
  """Adds to the test accuracy of each seed of batch_norm."""
  path = folder / 'runs' / 'final-batch_norm' / 'summary.json'
  found = results.read_json(path)
  found['test/accuracy'] = (np.array(found['test/accuracy']) + by).tolist()
  synthetic.write_json(path, found)


def test_a_study_agrees_with_itself(pair):
  found = agreement.compare(*pair)
  assert found.agree
  assert 'agree: all ' in found.sentence and 'of 4 runs' in found.sentence


def test_a_grid_may_be_of_words(pair):
  """Fault: a word that is read as a number."""
  for folder in pair:
    path = folder / 'runs' / 'tune-none' / 'config.json'
    config = results.read_json(path)
    config['model']['activation'] = 'relu'
    synthetic.write_json(path, config)
    other = folder / 'runs' / 'final-none' / 'config.json'
    config['model']['activation'] = 'tanh'
    synthetic.write_json(other, config)
    config = results.read_json(folder / 'config.json')
    config['study']['grid'] = {'model': {'activation': ['relu', 'tanh']}}
    synthetic.write_json(folder / 'config.json', config)
  assert set(results.load(pair[0])['model.activation'].dropna()) == {
    'relu', 'tanh',
  }  # fmt: skip
  assert agreement.compare(*pair).agree
  found = study.read(pair[0])
  assert not found.grid
  with pytest.raises(UserError, match='activation: it is not a number'):
    plots.over_field(found.final, x='model.activation')


def test_times_may_differ(pair):
  path = pair[1] / 'runs' / 'final-none' / 'summary.json'
  synthetic.write_json(path, results.read_json(path) | {'seconds': 1e9})
  (pair[1] / 'times.json').unlink()
  assert agreement.compare(*pair).agree


def test_the_first_difference_is_named(pair):
  change(pair[1], 'train/loss', 2, 7, 1e-9)
  change(pair[1], 'train/accuracy', 1, 20, 0.1)
  found = agreement.compare(*pair)
  assert not found.agree
  assert '2 of ' in found.sentence
  assert (
    'first train/loss at step 80 of member 2 of final-batch_norm'
    in found.sentence
  )


def test_a_number_that_is_missing_is_a_difference(pair):
  change(pair[1], 'train/loss', 2, 7, np.nan)
  found = agreement.compare(*pair)
  assert not found.agree and re.search(r': \d\.\d+ and nan;', found.sentence)


def test_a_run_that_is_missing_is_a_difference(pair):
  shutil.rmtree(pair[1] / 'runs' / 'tune-none')
  found = agreement.compare(*pair)
  assert not found.agree and 'tune-none is in the first alone' in found.sentence


def test_another_machine_has_a_tolerance(pair):
  move(pair[1])
  found = agreement.compare(*pair)
  assert found.agree and 'equal, though machine differs' in found.sentence
  shift(pair[1], 0.019)
  found = agreement.compare(*pair)
  assert found.agree and '1.90 points off where 2.00' in found.sentence
  shift(pair[1], 0.002)
  found = agreement.compare(*pair)
  assert not found.agree and 'do not agree: every mean' in found.sentence


def test_a_run_that_was_resumed_elsewhere_has_a_tolerance(pair):
  """Fault: the study's own environment alone."""
  path = pair[0] / 'runs' / 'final-batch_norm' / 'environment.json'
  begun = results.read_json(path)
  synthetic.write_json(path, begun | {'resumed': [begun | {'cores': 64}]})
  shift(pair[1], 0.019)
  found = agreement.compare(*pair)
  assert found.agree and 'cores differs' in found.sentence


def test_the_tolerance_grows_with_the_noise_between_seeds(pair):
  move(pair[1])
  by = np.array([0.12, -0.02, 0.02, 0.08])
  shift(pair[1], by)
  allowed = 2 + 2 * 100 * by.std(ddof=1) / 2
  found = agreement.compare(*pair)
  assert found.agree
  assert f'5.00 points off where {allowed:.2f}' in found.sentence


def flags(path, **given):
  return types.SimpleNamespace(
    reproduce=str(path), workdir=None, config=None, strategies=None,
    trials=None, tuning_seeds=None, seeds=None, **given,
  )  # fmt: skip


@pytest.fixture
def recorded(tmp_path):
  """A finished study's files, as far as it takes to run it again."""
  path, settings = tmp_path / 'study', config.study()
  settings.strategies, settings.rates = ('none',), (0.1, 1.0, 2)
  cases = {'case-none': tiny.config(batch_size=8).to_dict()}
  about = {'command': 'it', 'study': settings.to_dict(), 'cases': cases}
  for phase in ('tune', 'final', 'rates'):
    (path / 'runs' / f'{phase}-none').mkdir(parents=True)
    (path / 'runs' / f'{phase}-none' / 'summary.json').write_text('{}')
  for name in ('environment', 'choice'):
    (path / f'{name}.json').write_text('{}')
  records.write_json(path / 'config.json', about)
  return path


def edit(path, function):
  found = results.read_json(path / 'config.json')
  function(found)
  records.write_json(path / 'config.json', found)


def test_what_is_run_again_is_what_was_recorded(recorded):
  given = flags(recorded)
  make_config, settings = rerun.load(given, [])
  assert given.workdir == f'{recorded}-reproduced'
  wanted = tiny.config(batch_size=8).to_dict()
  assert not records.compare(
    json.loads(json.dumps(make_config('none').to_dict())),
    json.loads(json.dumps(wanted)),
  )
  assert list(settings.rates) == [0.1, 1.0, 2]
  assert list(settings.search.optimizer.learning_rate) == [0.03, 10]


def test_a_field_that_is_new_has_its_default(recorded):
  edit(recorded, lambda c: c['cases']['case-none']['log'].pop('unit'))
  edit(recorded, lambda c: c['study'].pop('timing_rounds'))
  make_config, settings = rerun.load(flags(recorded), [])
  assert make_config('none').log.unit == 0 and settings.timing_rounds == 7


def _gone(path):
  edit(path, lambda c: c['cases']['case-none']['log'].update(colour=1))


def _no_study(path):
  edit(path, lambda c: c.pop('cases'))


def _damaged(path):
  (path / 'config.json').write_text('{"study": ')


def _no_folder(path):
  shutil.rmtree(path)


def _unfinished(path):
  (path / 'runs' / 'rates-none' / 'summary.json').unlink()


def _unchosen(path):
  (path / 'choice.json').unlink()


@pytest.mark.parametrize(
  ('spoil', 'words'),
  [
    (_gone, 'none: log.colour; this version of bn_jax has no such field'),
    (_no_study, 'is not the record of a study'),
    (_damaged, 'is not JSON'),
    (_no_folder, 'no study in'),
    (_unfinished, 'is not finished: runs/rates-none/summary.json is missing'),
    (_unchosen, 'is not finished: choice.json is missing'),
  ],
)
def test_what_cannot_be_run_again_is_refused(spoil, words, recorded):
  spoil(recorded)
  with pytest.raises(UserError, match=words) as error:
    rerun.load(flags(recorded), [])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('given', 'overrides', 'words'),
  [
    ({'seeds': 3}, [], '--seeds with --reproduce'),
    ({'tuning_seeds': 3}, [], '--tuning-seeds with --reproduce'),
    ({}, ['--config.batch_size=1'], '--config.batch_size with --reproduce'),
    ({'workdir': 'itself'}, [], 'is the study itself'),
  ],
)
def test_another_study_is_not_a_repetition(given, overrides, words, recorded):
  asked = flags(recorded)
  vars(asked).update(given)
  if asked.workdir:
    asked.workdir = str(recorded / '..' / recorded.name)
  with pytest.raises(UserError, match=words):
    rerun.load(asked, overrides)
