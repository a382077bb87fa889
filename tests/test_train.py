"""The loop from a config to a workdir that can be read as a table.

Resuming under every strategy is a contract; what a run survives is in
tests/test_resume.py.
"""

import numpy as np
import pytest
import tiny

from bn_jax import results, statistics, train
from bn_jax.errors import UserError

MEMBERS = [tiny.member(s, optimizer__learning_rate=0.1 * s) for s in (1, 2)]


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch, num_devices):
  monkeypatch.setattr(train, 'load', lambda config: tiny.dataset())
  num_devices(2)


def fit(path, chained=('renormalize',), members=MEMBERS, test=True, **fields):
  made = tiny.config(chained, **{'model.width': 4, **fields})
  steps = tiny.Steps()
  return train.fit(made, members, path, test=test, progress=steps), steps


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('run')


@pytest.fixture
def done(folder):
  """A run of 20 steps: its folder, summary and progress."""
  if not (folder / 'summary.json').exists():
    summary, steps = fit(folder)
    assert steps == [(10, True), (10, True)]
    return folder, summary
  return folder, results.read_json(folder / 'summary.json')


def test_the_curves_are_a_table(done):
  """Planted: rows named by their first step, a test score on the way."""
  table = results.load(done[0])
  assert table.strategy.unique().tolist() == ['renormalize']
  assert table.groupby('member').seed.unique().map(list).to_dict() == {
    0: [1],
    1: [2],
  }
  np.testing.assert_allclose(table.learning_rate.unique(), [0.1, 0.2])
  first = table[table.member == 0].set_index('step')
  assert first.index.tolist() == [0, 5, 10, 15, 20]
  trained, scored = [5, 10, 15, 20], [0, 10, 20]
  for name in ('loss', 'accuracy', 'undone'):
    column = first[f'train/{name}']
    assert column[column.notna()].index.tolist() == trained
  for name in ('loss', 'accuracy', 'site_1/var'):
    column = first[f'validation/{name}']
    assert column[column.notna()].index.tolist() == scored
  for name in ('loss', 'accuracy'):
    column = first[f'test/{name}']
    assert column[column.notna()].index.tolist() == [20]
  for site in ('site_0', 'site_1'):
    for name in ('mean', 'var', 'distance'):
      assert first[f'{site}/{name}'].notna().sum() == len(trained)


def test_the_summary_tells_the_run_in_short(done):
  """Planted: parameters of all members, chance of the wrong classes."""
  summary = done[1]
  # 6 x 4 + 4 x 4 + 4 x 3 weights, 11 biases, 2 x 8 at the sites.
  assert summary['parameters'] == 52 + 11 + 16
  assert summary['strategies'] == ['renormalize']
  assert summary['chance'] == pytest.approx(1 / 3)
  assert summary['diverged_at'] == summary['diverged_site'] == [-1, -1]
  assert summary['steps'] == 20 and summary['steps_per_second'] > 0
  assert summary['statistics_scope'] == 'global'
  table = results.load(done[0])
  last = table[table.step == 20]
  np.testing.assert_allclose(
    summary['test/accuracy'], last['test/accuracy'], rtol=1e-6
  )


def test_what_is_done_is_not_done_again(done, monkeypatch):
  """Planted: a program that is built before the summary is looked for."""
  monkeypatch.setattr(train, 'Rounds', None)
  before = (done[0] / 'curves.jsonl').read_bytes()
  assert fit(done[0]) == (done[1], [(20, False)])
  assert (done[0] / 'curves.jsonl').read_bytes() == before


@pytest.mark.parametrize(
  'given, words',
  [
    ({'optimizer.momentum': 0.5}, 'optimizer.momentum is 0.0 there, 0.5 here'),
    ({'members': MEMBERS[:1]}, 'members'),
    ({'chained': ('none',)}, 'strateg'),
  ],
)
def test_another_run_is_refused(done, given, words):
  with pytest.raises(UserError, match=f'holds another run; .*{words}'):
    fit(done[0], **given)


@pytest.mark.parametrize(
  'given, words',
  [
    ({'optimizer.name': 'sdg'}, 'optimizer.name'),
    ({'batch_size': 97}, 'batch_size: 97'),
    ({'augment': 'crop_and_flip'}, "augment: 'crop_and_flip'"),
    ({'log.unit': 4, 'log.percentiles': True}, 'log.unit: 4; below 4'),
    ({'model.site': 'input'}, 'no linear layer feeds site_0'),
    (
      {'members': [tiny.member(0, optimizer__rate=0.1)]},
      'optimizer.rate: no such field; did you mean optimizer.learning_rate',
    ),
    ({'members': [tiny.member(0, batch_size=8.0)]}, 'batch_size: 16; not'),
  ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
  given, words, tmp_path
):
  """Planted: a folder that is made first."""
  with pytest.raises(UserError, match=words):
    fit(tmp_path / 'run', **given)
  assert not (tmp_path / 'run').exists()


def test_the_test_part_is_scored_when_it_is_asked_for(tmp_path):
  """Planted: a score for a run that tunes."""
  fields = {'num_train_steps': 10, 'log.test': True}
  tuned, _ = fit(tmp_path / 'tune', test=False, **fields)
  assert not [name for name in tuned if name.startswith('test/')]
  table = results.load(tmp_path / 'tune')
  assert not [name for name in table if name.startswith('test/')]
  fields['num_train_steps'] = 20
  fit(tmp_path / 'final', **fields)
  table = results.load(tmp_path / 'final')
  scored = table[table['test/accuracy'].notna()]
  assert sorted(scored.step.unique()) == [0, 10, 20]


def test_a_run_that_was_stopped_goes_on(tmp_path):
  """With programs of its own, as in another process."""
  made = tiny.config(['batch_norm'], **{'checkpoint.seconds': 0.0})
  run = tmp_path / 'run'
  with pytest.raises(tiny.StoppedError):
    train.fit(made, MEMBERS, run, progress=tiny.stop_at(20))
  steps = tiny.Steps()
  found = train.fit(made, MEMBERS, run, progress=steps)
  assert steps == [(10, False), (10, True)]
  wanted = train.fit(made, MEMBERS, tmp_path / 'whole')
  for name in ('steps', 'parameters', 'diverged_at'):
    assert found[name] == wanted[name]
  one, two = (tmp_path / f / 'curves.jsonl' for f in ('run', 'whole'))
  assert one.read_text() == two.read_text()


def kill_at_summary(folder, name, value, write=train.Workdir.write):
  if name == 'summary':
    raise tiny.StoppedError
  write(folder, name, value)


@pytest.mark.parametrize('killed', [False, True])
def test_what_the_last_update_breaks_has_diverged(
  tmp_path, monkeypatch, killed
):
  """No step sees it, so its scores have to tell.

  Fault: `diverged` for `failed` in `finish`; no `broken` in a checkpoint.
  """
  members = [tiny.member(0, optimizer__learning_rate=x) for x in (0.1, 3e38)]
  made = tiny.config(num_train_steps=1, log__every=1, log__eval_every=1)
  run = tmp_path / 'run'
  if killed:  # between its last checkpoint and its summary
    monkeypatch.setattr(train.Saver, 'in_use', lambda self: True)
    with monkeypatch.context() as patch, pytest.raises(tiny.StoppedError):
      patch.setattr(train.Workdir, 'write', kill_at_summary)
      train.fit(made, members, run)
    assert (run / 'checkpoints/1').is_dir()
  summary = train.fit(made, members, run)
  assert summary['diverged_at'] == [-1, 1]
  scores = statistics.finals(results.load(run), 'validation/loss', chance=1 / 3)
  assert scores.score[1] == pytest.approx(np.log(3))


def test_a_test_loss_alone_that_is_not_finite_has_diverged(
  tmp_path, monkeypatch
):
  """Fault: no look at the test losses in `_Loop.failed`."""
  test = tiny.dataset().test
  odd = test._replace(image=np.full_like(test.image, np.nan))
  data = tiny.dataset()._replace(test=odd)
  monkeypatch.setattr(train, 'load', lambda config: data)
  summary, _ = fit(tmp_path / 'run', ('none',))
  assert summary['test/loss'] == [None, None]
  assert summary['diverged_at'] == [20, 20]
