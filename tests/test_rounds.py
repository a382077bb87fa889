"""Populations that do not fit, and members that diverge."""

import json

import jax
import numpy as np
import pytest
import tiny

from bn_jax import layout, results, rounds, train
from bn_jax.errors import UserError
from bn_jax.rounds import Rounds

SMALL = {'model__depth': 2, 'model__width': 4, 'num_train_steps': 20}
RATES = (0.1, 1e38, 0.2, 0.3, 0.4)
MEMBERS = [
  tiny.member(i, optimizer__learning_rate=rate) for i, rate in enumerate(RATES)
]
GONE = 1  # the member whose rate is too large for float32


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch, num_devices):
  monkeypatch.setattr(train, 'load', lambda config: tiny.dataset())
  num_devices(2)


def make(members=MEMBERS, say=print, **fields):
  config = tiny.config(('batch_norm',), **{**SMALL, **fields}).to_dict()
  return Rounds(config, tiny.dataset(), members, say)


def curves(population):
  state = population.initialize()
  state, metrics = population.train(state, 0, 10)
  state, more = population.train(state, 10, 10)
  scores = population.evaluate(state, tiny.dataset().test)
  return population.host(state), [metrics, more, scores]


def without(tree, member=GONE):
  """What a member that diverged holds is not said."""
  return jax.tree.map(lambda x: np.delete(x, member, axis=0), tree)


def fit(path, members=MEMBERS, **fields):
  config = tiny.config(('batch_norm',), **{**SMALL, **fields})
  return train.fit(config, members, path, test=True)


def test_how_many_members_fit():
  """Fault: a round that forgets what the data take."""
  fits = layout.members_at_a_time
  room = int(1000 / layout.FILL)
  assert fits(16, 1, each=10, shared=0, limit=room) == 16
  assert fits(16, 1, each=100, shared=0, limit=room) == 8
  assert fits(16, 2, each=100, shared=0, limit=room) == 16
  assert fits(16, 1, each=100, shared=500, limit=room) == 4
  assert fits(16, 1, each=100, shared=400, limit=room) == 6
  with pytest.raises(UserError, match='memory: one member takes'):
    fits(16, 1, each=1001, shared=0, limit=room)


def test_the_memory_of_this_machine_is_known():
  assert 1e8 < layout.memory_limit() < 1e14


@pytest.mark.parametrize('size', [2, 3])
def test_rounds_give_what_one_program_gives(size, monkeypatch):
  """Fault: a round that gets the seeds of the first one."""
  wanted = curves(make())
  monkeypatch.setattr(layout, 'members_at_a_time', lambda *_: size)
  said = []
  population = make(say=said.append)
  assert said == [
    f'5 members do not fit the memory of the devices; {size} run at a time'
  ]
  tiny.assert_trees_close(without(curves(population)), without(wanted))


@pytest.mark.parametrize('name', ['train', 'evaluate'])
def test_running_out_of_memory_halves_the_round(name, monkeypatch):
  """Faults: a retry that starts from the state of a round that was done.

  A round, or a checkpoint, that takes an idle slot for a member: of five
  members on two devices there is one.
  """
  wanted = curves(make())
  take = getattr(rounds.Population, name)

  def fails_with_many(self, *args):
    if len(self.members) > 2:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')
    return take(self, *args)

  monkeypatch.setattr(rounds.Population, name, fails_with_many)
  said = []
  population = make(say=said.append)
  tiny.assert_trees_close(without(curves(population)), without(wanted))
  assert said == [
    'out of memory with 5 members at a time; going on with 3',
    'out of memory with 3 members at a time; going on with 2',
  ]


def test_one_member_that_does_not_fit(monkeypatch):
  def fails(self, *args):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')

  monkeypatch.setattr(rounds.Population, 'train', fails)
  with pytest.raises(UserError, match='memory: the device has not enough'):
    curves(make(say=lambda text: None))


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
  def fails(self, *args):
    raise jax.errors.JaxRuntimeError('INTERNAL: something else')

  monkeypatch.setattr(rounds.Population, 'train', fails)
  with pytest.raises(jax.errors.JaxRuntimeError, match='something else'):
    curves(make())


@pytest.mark.parametrize('group', [0, 3])
def test_a_member_that_diverges_costs_the_others_nothing(group):
  """Fault: gradients that are averaged over the members of a `vmap`."""
  found, told = curves(make(mesh__group=group))
  assert (found.diverged_at >= 0).tolist() == [i == GONE for i in range(5)]
  assert found.diverged_at[GONE] <= 5
  assert found.diverged_site[GONE] == 0
  for metrics in told[1:]:  # from the row after it on, nothing is told of it
    assert all(np.isnan(v[GONE]).all() for v in metrics.values())
  alone = [m for i, m in enumerate(MEMBERS) if i != GONE]
  wanted, expected = curves(make(alone, mesh__group=group))
  tiny.assert_trees_close(without(found), wanted)
  tiny.assert_trees_close(without(told), expected)


def test_a_diverged_member_is_recorded(tmp_path):
  summary = fit(tmp_path)
  at = summary['diverged_at']
  assert [x >= 0 for x in at] == [i == GONE for i in range(5)]
  assert summary['test/accuracy'][GONE] is None
  text = (tmp_path / 'summary.json').read_text()
  text += (tmp_path / 'curves.jsonl').read_text()
  assert 'NaN' not in text and 'Infinity' not in text
  table = results.load(tmp_path)
  last = table[table.step == 20]
  assert last['validation/accuracy'].isna().tolist() == [
    i == GONE for i in range(5)
  ]
  assert table[table.member == GONE].diverged_at.unique().tolist() == [at[GONE]]


def test_a_population_that_diverges_whole_ends_early(tmp_path, capsys):
  """Fault: `all_diverged` that never is."""
  doomed = [tiny.member(i, optimizer__learning_rate=1e38) for i in (0, 1)]
  summary = fit(tmp_path, doomed, num_train_steps=1000)
  assert summary['steps'] == 10
  (line,) = [x for x in capsys.readouterr().err.splitlines() if 'bn_jax' in x]
  assert 'all 2 members diverged, from step ' in line
  assert 'first at site_0; the run ends at step 10 of 1000' in line
  assert json.loads((tmp_path / 'summary.json').read_text()) == summary
  assert len(results.load(tmp_path)) > 0
  assert fit(tmp_path, doomed, num_train_steps=1000) == summary
