"""The protocol of a comparison, rule by rule, on a study that takes seconds.

Planted and seen: a trial fewer for who has more to tune, a sequence of its own
for each strategy, tuning seeds from 0, the worst trial chosen, a failure left
out of the choice, test scores while tuning, the choice written last, a curve
whose other hyperparameters are the defaults, a turn that goes on from the last
state, a run that is always timed last.
"""

import itertools
import json
import types

import numpy as np
import pytest
import tiny

from bn_jax import config as config_lib
from bn_jax import results, search, statistics, study, timing, train
from bn_jax.errors import UserError

STRATEGIES = ('none', 'activation_penalty')
RATE, WEIGHT = 'optimizer.learning_rate', 'strategy.activation_penalty.weight'


def settings(**fields):
  made = config_lib.study()
  made.strategies = STRATEGIES
  made.trials, made.tuning_seeds, made.seeds = 4, 2, 3
  made.rates, made.timing_rounds = (0.01, 1.0, 3), 2
  for name, value in fields.items():
    made[name] = value
  return made


def make_config(names):
  return tiny.config(names.split('+'), model__width=4)


@pytest.fixture(scope='module')
def done(tmp_path_factory):
  """A finished study: its folder, its table, and what it asked `fit` for."""
  folder, asked = tmp_path_factory.mktemp('study'), []
  fit = train.fit

  def spy(config, members, path, *, test, progress):
    asked.append((path.name, test, (folder / 'choice.json').exists()))
    return fit(config, members, path, test=test, progress=progress)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, 'load', lambda config: tiny.dataset())
    patch.setattr(train, 'fit', spy)
    made = study.Study(make_config, settings(), folder)
    made.claim('python -m experiments.compare')
    hparams = made.run()
    turns = []
    made.time(hparams, lambda label, count: turns.append(count))
  return types.SimpleNamespace(
    path=folder, df=results.load(folder), asked=asked, study=made, turns=turns
  )


def members(done, phase, strategy):
  path = done.path / 'runs' / f'{phase}-{strategy}' / 'members.json'
  return results.read_json(path)


def test_every_strategy_has_the_same_budget(done):
  for strategy in STRATEGIES:
    tried = members(done, 'tune', strategy)
    assert len(tried) == 4 * 2
    assert len({json.dumps(m['hparams']) for m in tried}) == 4
  steps = done.df[done.df.phase == 'tune'].groupby('strategy').step.max()
  assert steps.nunique() == 1


def test_what_is_shared_is_tried_at_the_same_points(done):
  rates = [
    [m['hparams'][RATE] for m in members(done, 'tune', name)]
    for name in STRATEGIES
  ]
  assert rates[0] == rates[1]
  assert set(members(done, 'tune', 'none')[0]['hparams']) == {RATE}
  assert set(members(done, 'tune', 'activation_penalty')[0]['hparams']) == {
    RATE, WEIGHT,
  }  # fmt: skip


def test_points_are_log_uniform_and_spread_evenly():
  """Each of n equal parts of the range has one of n Sobol points."""
  made = settings(trials=16)
  points = search.trials(made, 'activation_penalty')
  limits = search.spaces(made, 'activation_penalty')
  for field, (low, high) in (limits['shared'] | limits['own']).items():
    values = np.array([point[field] for point in points])
    share = np.log(values / low) / np.log(high / low)
    assert sorted((share * 16).astype(int)) == list(range(16))


def test_seeds_that_tune_are_not_those_that_are_reported(done):
  for strategy in STRATEGIES:
    tuned = {m['seed'] for m in members(done, 'tune', strategy)}
    final = {m['seed'] for m in members(done, 'final', strategy)}
    assert len(tuned) == 2 and final == {0, 1, 2} and not tuned & final


def test_the_best_trial_by_validation_accuracy_is_chosen(done):
  choices = results.read_json(done.path / 'choice.json')
  tune = statistics.finals(
    done.df[done.df.phase == 'tune'], 'validation/accuracy', chance=1 / 3
  )
  for strategy in STRATEGIES:
    mine = tune[tune.strategy == strategy]
    mean = mine.groupby('learning_rate').score.mean()
    choice = choices[f'case-{strategy}']
    assert mean[choice['hparams'][RATE]] == pytest.approx(mean.max())
    assert choice['validation/accuracy'] == pytest.approx(mean.max())
    assert mean.min() < mean.max(), 'nothing to choose'
    final = {json.dumps(m['hparams']) for m in members(done, 'final', strategy)}
    assert final == {json.dumps(choice['hparams'])}


def test_a_trial_that_diverged_counts_at_chance(tmp_path):
  folder = tmp_path / 'runs' / 'tune-none'
  folder.mkdir(parents=True)
  about = {'chance': 0.3, 'diverged_at': [7, -1, -1]}
  (folder / 'summary.json').write_text(json.dumps(about))
  rows = {'validation/accuracy': [[0.9], [0.2], [0.25]]}
  line = json.dumps({'step': [20], 'metrics': rows})
  (folder / 'curves.jsonl').write_text(line + '\n')
  made = study.Study(make_config, settings(strategies=('none',)), tmp_path)
  points = [{RATE: rate} for rate in (1.0, 2.0, 3.0)]
  choice = made.choose(made.cases[0], points)
  assert choice['hparams'] == points[0]
  assert [t['validation/accuracy'] for t in choice['trials']] == [
    0.3, 0.2, 0.25,
  ]  # fmt: skip


def test_another_study_is_refused_by_the_field_that_differs(done):
  def wider(names):
    return tiny.config(names.split('+'), model__width=5)

  other = study.Study(wider, settings(), done.path)
  says = r'another study; [^.;]*\.model\.width is 4 there, 5 here; '
  with pytest.raises(UserError, match=says):
    other.claim('')


def test_test_data_are_scored_once_after_the_choice_is_on_disk(done):
  phases = [name.partition('-')[0] for name, *_ in done.asked]
  assert phases == ['tune', 'tune', 'final', 'final', 'rates', 'rates']
  for name, test, chosen in done.asked:
    assert test == name.startswith('final-')
    assert chosen != name.startswith('tune-')
  scored = done.df[done.df['test/accuracy'].notna()]
  assert set(scored.phase) == {'final'} and set(scored.step) == {20}


def test_the_choice_says_what_was_searched(done):
  choices = results.read_json(done.path / 'choice.json')
  for strategy in STRATEGIES:
    assert choices[f'case-{strategy}']['search']['shared'] == {RATE: [0.03, 10]}
  own = [choices[f'case-{name}']['search']['own'] for name in STRATEGIES]
  assert own == [{}, {WEIGHT: [1e-4, 10]}]


def test_the_curve_changes_the_learning_rate_alone(done):
  choices = results.read_json(done.path / 'choice.json')
  for strategy in STRATEGIES:
    chosen = choices[f'case-{strategy}']['hparams']
    found = [
      (m['hparams'][RATE], m['seed']) for m in members(done, 'rates', strategy)
    ]
    assert found == list(itertools.product((0.01, 0.1, 1.0), (0, 1, 2)))
    for member in members(done, 'rates', strategy):
      assert member['hparams'] | {RATE: 0} == chosen | {RATE: 0}


def test_the_steps_are_counted_before_they_are_taken(done):
  assert done.study.total_steps() == 2 * 20 * (4 * 2 + 3 * (1 + 3))


def test_the_times_are_of_this_run_and_are_not_taken_twice(done, monkeypatch):
  times = results.read_json(done.path / 'times.json')
  assert [t['strategy'] for t in times.values()] == list(STRATEGIES)
  for found in times.values():
    assert len(found['seconds_per_step']) == 2
    assert min(found['seconds_per_step']) > 0
  assert sum(done.turns) == 3 * len(STRATEGIES)
  monkeypatch.setattr(timing, 'in_turns', None)
  assert done.study.total_turns() == 0
  done.study.time({}, None)


class Clock:
  """Time that passes only while a population trains."""

  def __init__(self):
    self.now, self.order = 0.0, []

  def population(self, name, seconds):
    def train(state, first, count):
      assert (state, first, count) == ('fresh', 0, 5)
      self.now += seconds
      self.order.append(name)
      return 'used', {}

    def initialize():
      self.now += 100.0  # compiles, and is not of the step
      return 'fresh'

    return types.SimpleNamespace(
      train=train, initialize=initialize, config={'log': {'every': 5}},
      members=[0, 1],
    )  # fmt: skip


def test_populations_are_timed_in_turns():
  clock = Clock()
  fast, slow = clock.population('fast', 1 / 16), clock.population('slow', 1 / 8)
  found = timing.in_turns([fast, slow], 3, lambda: clock.now)
  np.testing.assert_allclose(found[0], [1 / 160] * 3)
  np.testing.assert_allclose(found[1], [1 / 80] * 3)
  turns = [name for name, _ in itertools.groupby(clock.order[4:])]
  # The second round goes backwards, so that two turns meet.
  assert turns == ['fast', 'slow', 'fast', 'slow']
  assert clock.order[4:].count('fast') == 3 * 4
  assert clock.order[4:].count('slow') == 3 * 2


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    ({'rates': (1.0, 0.1, 5)}, r'study.rates: \(1.0, 0.1, 5\)'),
    ({'rates': (0.1, 1.0)}, 'study.rates'),
    ({'rates': (0.1, 1.0, 1)}, 'at least 2'),
    ({'rates': ('a', 1.0, 3)}, r"study.rates: \('a', 1.0, 3\)"),
    ({'timing_rounds': -1}, 'study.timing_rounds: -1; at least 0'),
    ({'seeds': 0}, 'study.seeds: 0; at least 1'),
  ],
)
def test_settings_that_cannot_be(fields, words, tmp_path):
  with pytest.raises(UserError, match=words):
    study.Study(make_config, settings(**fields), tmp_path / 'study')
  assert not (tmp_path / 'study').exists()
