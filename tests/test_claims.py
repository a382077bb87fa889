import collections

import numpy as np
import pytest

from bn_jax import criteria
from bn_jax.criteria import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED
from experiments import claims
from experiments.claims import _chain, _lab, _page, _run, _split

Place = collections.namedtuple('Place', ['path', 'feeder'])
NAMES = claims.names()
CRITERIA = [(n, c) for n in NAMES for c in claims.load(n).CRITERIA]


def result(name, values, quick=False):
  agreed = claims.load(name).CRITERIA
  return {
    'name': name,
    'sentence': 'A sentence.',
    'about': 'About it.',
    'criteria': [c._asdict() for c in agreed],
    'measured': {'values': values},
    'seeds': list(range(10)),
    'quick': quick,
    'seconds': 1.0,
    'environment': {'python': '3', 'packages': {'jax': '0'}},
  }


def samples(criterion, side):
  """Ten values on the right side of a threshold (1), or on the wrong (-1)."""
  sign = side if criterion.comparison == '>' else -side
  size = abs(criterion.threshold) or 1.0
  return criterion.threshold + sign * size * np.linspace(0.2, 0.4, 10)


def test_there_are_ten_claims_and_each_says_what_it_is():
  assert len(NAMES) >= 10
  for name in NAMES:
    sentence, about = claims.describe(name)
    assert sentence.endswith('.')
    for word in ('Source:', 'Measured', 'Criterion'):
      assert word in about, name
    assert claims.load(name).SECONDS > 0


@pytest.mark.parametrize('name', NAMES)
def test_files_are_short(name):
  path = claims._FOLDER / f'{name}.py'
  assert len(path.read_text().splitlines()) < 150


@pytest.mark.parametrize('name', NAMES)
def test_verdict_turns_with_every_criterion(name):
  agreed = claims.load(name).CRITERIA
  right = {c.quantity: samples(c, 1) for c in agreed}
  assert _run.judged(result(name, right))['verdict'] == SUPPORTED
  for c in agreed:
    wrong = right | {c.quantity: samples(c, -1)}
    assert _run.judged(result(name, wrong))['verdict'] == NOT_SUPPORTED
    few = right | {c.quantity: samples(c, 1)[:9]}
    assert _run.judged(result(name, few))['verdict'] == INCONCLUSIVE
    smoke = _run.judged(result(name, wrong, quick=True))
    assert 'no verdict' in smoke['verdict']
    assert {f['outcome'] for f in smoke['findings']} == {'-'}


def judge(name, values):
  return {
    c.quantity: criteria.judge(c, values[c.quantity]).outcome
    for c in claims.load(name).CRITERIA
    if c.quantity in values
  }


@pytest.mark.parametrize('form', ['moments', 'kl', 'log_variance'])
def test_a_penalty_that_normalizes_for_nothing_turns_the_verdict(form):
  module = claims.load('penalty_is_imperfect')
  noise = np.random.default_rng(0).normal(0, 1e-3, (3, 10))
  accuracy = np.array([[0.6], [0.6], [0.3]]) + noise
  imperfect = np.array([[0.5], [0.4], [0.05]]) + noise
  perfect = np.array([[0.5], [0.01], [0.01]]) + noise
  never = np.array([[0.5], [0.5], [0.5]]) + noise

  def outcome(distance):
    price = module.price(accuracy, distance)
    return judge('penalty_is_imperfect', {form: price})[form]

  assert outcome(imperfect) == SUPPORTED
  assert outcome(never) == SUPPORTED
  assert outcome(perfect) == NOT_SUPPORTED


def probes(undone, cosine, idle):
  shape = (10, 3, 4)
  noise = 1e-3 * np.random.default_rng(0).normal(size=shape)
  return {
    'parameters': undone + noise,
    'function': undone + noise,
    'proposed': np.ones(shape) + noise,
    'kept': np.ones(shape) - undone,
    'cosine': cosine + noise,
    'idle': idle + abs(noise),
  }


def test_an_edit_that_undoes_nothing_turns_the_verdict():
  module = claims.load('renormalization_wastes_updates')
  reached = {'renormalize': np.full(10, 900.0), 'batch_norm': np.full(10, 300)}
  good = {
    'renormalize': probes(0.5, 0.9, 0.5),
    'batch_norm': probes(0, 0, 0.001),
  }
  found = judge(module.__name__.rpartition('.')[2],
                module.quantities(good, reached))  # fmt: skip
  assert set(found.values()) == {SUPPORTED}
  bad = {
    'renormalize': probes(-0.01, -0.5, 0),
    'batch_norm': probes(0, 0, 0.5),
  }
  reached = {'renormalize': np.full(10, 200.0), 'batch_norm': np.full(10, 300)}
  found = judge(module.__name__.rpartition('.')[2],
                module.quantities(bad, reached))  # fmt: skip
  assert found['parameters'] == found['function'] == NOT_SUPPORTED
  assert found['repeated'] == found['batch_norm'] == NOT_SUPPORTED
  assert found['slower'] == NOT_SUPPORTED


def units(correlation, distance):
  noise = 1e-3 * np.random.default_rng(0).normal(size=(10, 2))
  return {
    'correlation': correlation + noise,
    'within': correlation + noise,
    'distance': distance + noise,
  }


def test_a_normalization_that_whitens_turns_the_verdict():
  module = claims.load('moments_are_not_dependence')
  found = {'none': units(0.5, 0.8), 'batch_norm': units(0.4, 0.05),
           'ZCA': units(0.04, 0.05), 'Cholesky': units(0.05, 0.05)}  # fmt: skip
  name = 'moments_are_not_dependence'
  assert set(judge(name, module.quantities(found)).values()) == {SUPPORTED}
  found['batch_norm'] = units(0.04, 0.5)
  assert set(judge(name, module.quantities(found)).values()) == {NOT_SUPPORTED}


def placed(gap, accuracy):
  noise = 1e-3 * np.random.default_rng(0).normal(size=(10, 3))
  pair = np.stack([0.3 + gap + noise, np.full((10, 3), 0.3)], -1)
  return {'wasserstein': pair, 'accuracy': accuracy + noise}


def test_placing_the_site_at_x_with_profit_turns_the_verdict():
  module = claims.load('normalize_xw_not_x')
  for sign, outcome in ((1, SUPPORTED), (-1, NOT_SUPPORTED)):
    found = {
      f'{act}, 20, {site}': placed(
        0.2 * sign, 0.6 + 0.1 * sign * (site == 'XW')
      )
      for act in ('tanh', 'relu')
      for site in ('XW', 'X', 'after')
    }
    judged = judge('normalize_xw_not_x', module.quantities(found))
    assert set(judged.values()) == {outcome}


def test_a_plain_net_that_trains_deeper_turns_the_verdict():
  module = claims.load('very_deep_nets')
  depths = [2, 4, 8]
  all_, some, none = (np.zeros((3, 4, 10), bool) for _ in range(3))
  all_[:], some[0, 1:3] = True, True
  for normal, plain, outcome in (
    (all_, some, SUPPORTED),
    (some, all_, NOT_SUPPORTED),
  ):
    works = {'batch_norm': normal, 'none': plain}
    judged = judge('very_deep_nets', module.quantities(works, depths))
    assert set(judged.values()) == {outcome}
  none = module.quantities({'batch_norm': some, 'none': none}, depths)
  assert (none['deeper'] == 1).all()


def test_missing_values_are_told_as_missing():
  found = _lab.plain({'a': np.array([1.0, np.nan]), 'b': np.float32(2)})
  assert found == {'a': [1.0, None], 'b': 2.0}
  assert _page.say(None) == 'missing'
  assert _page.say(0.12345) == '0.123'


def test_the_sign_of_a_chain_is_of_its_hidden_kernels():
  chain = {
    name: {'kernel': np.full((1, 1), value)}
    for name, value in (('dense_0', -2.0), ('dense_1', 3.0), ('head', -1.0))
  }
  assert _chain.product_sign(chain) == -1
  chain['dense_1']['kernel'][:] = -3
  assert _chain.product_sign(chain) == 1


def test_shares_of_layers_are_of_the_arrays_of_a_layer_at_each_site():
  sites = [Place(f'site_{i}', f'dense_{i}') for i in range(2)]
  changes = {
    'dense_0/kernel': np.array([[9.0, 9.0], [1.0, -1.0]]),
    'dense_1/kernel': np.array([[0.0, 0.0], [2.0, 0.0]]),
    'head/kernel': np.zeros((2, 2)),
    'site_1/norm/bias': np.array([[0.0, 0.0], [3.0, -3.0]]),
  }
  found = _split.layer_shares(changes, sites)
  np.testing.assert_allclose(found, [[1, 0], [0.2, 0.8]], rtol=1e-6)
  assert float(_split.own_share(changes, 1, sites[1])) == pytest.approx(0.6)
  assert float(_split.own_share(changes, 0, sites[1])) == 0
