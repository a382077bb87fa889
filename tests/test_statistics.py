import warnings

import numpy as np
import pandas as pd
import pytest

from bn_jax import statistics
from bn_jax.statistics import intervals


@pytest.fixture(autouse=True)
def _no_warnings():
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    yield


def _frame(rows):
  names = ['strategy', 'member', 'step', 'validation/accuracy', 'diverged_at']
  df = pd.DataFrame(rows, columns=names)
  return df.assign(
    run=df.strategy, variant='', seed=df.member, learning_rate=0.1
  )


def test_the_interquartile_mean_by_hand():
  assert statistics.iqm(np.array([100.0, 1, 2, 3, 4, 6, 9, -50])) == 3.75
  assert statistics.iqm(np.array([9.0, 1, 2, 3, -7])) == 2.0


def test_an_interval_agrees_with_the_normal_one_for_a_large_sample():
  x = np.random.default_rng(0).normal(2, 3, 400)
  point, low, high = statistics.interval(x)
  half = 1.96 * x.std(ddof=1) / 20
  assert point == x.mean()
  np.testing.assert_allclose(
    (low, high), (point - half, point + half), atol=0.02
  )


def test_an_interval_covers_the_truth():
  draws = np.random.default_rng(1).normal(size=(10, 300))
  _, low, high = statistics.interval(draws, num_resamples=999)
  assert 0.85 < np.mean((low < 0) & (high > 0)) < 0.97


def test_strata_are_resampled_by_themselves():
  # Within strata there is no spread at all, between them there is.
  point, low, high = statistics.interval((np.zeros(4), np.full(4, 2.0)))
  assert (point, low, high) == (1, 1, 1)
  _, low, high = statistics.interval(np.array([0.0] * 4 + [2.0] * 4))
  assert low < 0.7 and high > 1.3


@pytest.mark.parametrize('statistic', [np.mean, statistics.iqm])
@pytest.mark.parametrize('values', [[0.7], [0.1] * 6, [0.25, 0.25]])
def test_an_interval_with_nothing_to_resample_is_its_point(values, statistic):
  found = statistics.interval(np.array(values), statistic)
  np.testing.assert_allclose(found, [values[0]] * 3)


def test_where_bca_is_undefined_the_percentiles_stand_in():
  # The interquartile mean of these is 0 whichever one value is left out.
  values = np.array([0.0, 0, 0, 0, 0, 0, 0, 1])
  found = statistics.interval(values, statistics.iqm)
  assert found.point == found.low == 0 and 0 < found.high < 1


def test_the_probability_of_improvement_by_hand():
  point, low, high = statistics.probability_of_improvement([1, 3], [2, 3])
  assert point == (0 + 0 + 1 + 0.5) / 4
  assert 0 <= low < point < high <= 1
  assert statistics.probability_of_improvement([2, 3], [0, 1]) == (1, 1, 1)
  assert statistics.probability_of_improvement([2], [3]) == (0, 0, 0)


def test_the_probability_of_improvement_is_averaged_over_strata():
  a, b = (np.array([1.0, 3]), np.array([0.0, 0])), (
    np.array([2.0, 3]), np.array([5.0, 5])
  )  # fmt: skip
  point, low, high = statistics.probability_of_improvement(a, b)
  assert point == (0.375 + 0) / 2
  # The second stratum is certain, so the first alone spreads: 0 to 1, halved.
  assert 0 <= low < point < high <= 0.5


def test_the_probability_of_improvement_holds_few_pairs_at_once(monkeypatch):
  """Fault: as many draws at once as if the runs themselves were held."""
  held, wins = [], intervals._wins

  def seen(a, b, axis):
    held.append(a.size * b.shape[axis])
    return wins(a, b, axis)

  monkeypatch.setattr(intervals, '_wins', seen)
  a, b = np.arange(200.0), np.arange(300.0)
  statistics.probability_of_improvement(a, b, num_resamples=100)
  assert sum(held) > 100 * 200 * 300 and max(held) <= 2.5e6


def test_holm_by_hand():
  p = [0.01, 0.04, 0.03, 0.005]
  np.testing.assert_allclose(statistics.holm(p), [0.03, 0.06, 0.06, 0.02])
  assert statistics.holm([0.9, 0.8]).tolist() == [1, 1]


def test_paired_differences_by_hand():
  # Seeds differ by much, the strategies by little: only pairing shows it.
  base = np.array([0.1, 0.5, 0.9, 0.3, 0.7, 0.6])
  gain = np.array([0.01, 0.02, 0.03, 0.01, 0.02, 0.03])
  scores = pd.concat(
    pd.DataFrame(
      {'strategy': name, 'variant': '', 'seed': range(6), 'score': values}
    ).sample(frac=1, random_state=0)
    for name, values in [('none', base), ('a', base + gain), ('b', base)]
  )
  table = statistics.paired_differences(scores, 'none')
  assert table.index.tolist() == ['a', 'b']
  assert table.difference['a'] == pytest.approx(0.02)
  assert 0.01 <= table.low['a'] < 0.02 < table.high['a'] <= 0.03
  # All six differences are positive: 2 of the 64 sign patterns are as extreme.
  assert table.p['a'] == pytest.approx(2 / 64)
  assert table.p_holm['a'] == pytest.approx(4 / 64)
  assert tuple(table.loc['b']) == (0, 0, 0, 1, 1, 6)


def test_a_pair_of_which_one_is_missing_does_not_count():
  scores = pd.DataFrame(
    {
      'strategy': ['none', 'none', 'a'],
      'variant': '',
      'seed': [0, 1, 1],
      'score': [0.0, 1.0, 3.0],
    }
  )
  table = statistics.paired_differences(scores, 'none')
  assert tuple(table.loc['a']) == (2, 2, 2, 1, 1, 1)


def test_the_variants_of_a_seed_are_no_further_evidence():
  one = pd.DataFrame(
    {'strategy': ['none', 'a'] * 3, 'seed': [0, 0, 1, 1, 2, 2],
     'score': [0, 1, 0, 2, 0, 3], 'variant': 'x'}
  )  # fmt: skip
  both = pd.concat([one, one.assign(variant='y', score=one.score * 2)])
  table = statistics.paired_differences(both, 'none')
  assert table.pairs['a'] == 3 and table.difference['a'] == 3
  assert table.p['a'] == 2 / 8


def test_a_performance_profile_by_hand():
  found = statistics.performance_profile([1, 2, 3, 4], [0, 2, 3.5, 5])
  assert found.point.tolist() == [1, 0.75, 0.25, 0]
  assert found.low.tolist()[::3] == found.high.tolist()[::3] == [1, 0]
  assert found.low[1] < 0.75 < found.high[1]


def test_the_best_after_k_trials_by_hand():
  # Pairs of {1, 2, 4}: maxima 2, 4, 4.
  found = statistics.best_after_trials([4, 1, 2])
  np.testing.assert_allclose(found.point, [7 / 3, 10 / 3, 4])
  assert (found.low <= found.point).all() and (found.point <= found.high).all()
  assert statistics.best_after_trials([3.0]) == ([3], [3], [3])


def test_a_diverged_member_scores_chance_and_stays_in_the_average():
  df = _frame([
    ('a', 0, 1, 0.5, -1), ('a', 0, 2, 0.9, -1), ('a', 0, 3, np.nan, -1),
    ('a', 1, 1, 0.95, 2), ('a', 1, 2, np.nan, 2), ('a', 1, 3, np.nan, 2),
  ])  # fmt: skip
  scores = statistics.finals(df, 'validation/accuracy', chance=0.25)
  assert scores.score.tolist() == [0.9, 0.25]
  assert scores.member.tolist() == [0, 1]
  filled = statistics.with_failures(df, 'validation/accuracy', chance=0.25)
  np.testing.assert_array_equal(filled, [0.5, 0.9, np.nan, 0.95, 0.25, 0.25])


def test_the_last_value_is_of_the_last_step_in_any_order_of_rows():
  df = _frame([('a', 0, 1, 0.5, -1), ('a', 0, 2, 0.9, -1)])[::-1]
  assert statistics.finals(df, 'validation/accuracy').score.tolist() == [0.9]


def test_when_all_diverged_the_mean_is_chance():
  df = _frame([('a', i, 1, np.nan, 1) for i in range(5)])
  scores = statistics.finals(df, 'validation/accuracy', chance=0.1).score
  assert statistics.interval(scores.to_numpy()) == (0.1, 0.1, 0.1)


def test_the_loss_of_a_failure_is_that_of_a_guess():
  assert statistics.failure('test/loss', 0.1) == pytest.approx(np.log(10))
  assert np.isnan(statistics.failure('train/undone', 0.1))


def test_steps_to_a_target_that_is_never_reached_are_infinite():
  df = _frame([
    ('a', 0, 1, 0.5, -1), ('a', 0, 2, 0.8, -1), ('a', 0, 3, 0.7, -1),
    ('a', 1, 1, 0.5, -1), ('a', 1, 2, 0.6, -1),
    ('a', 2, 1, 0.9, 2), ('a', 2, 2, np.nan, 2),
  ])  # fmt: skip
  found = statistics.steps_to(df, 'validation/accuracy', 0.8)
  assert found.steps.tolist() == [2, np.inf, np.inf]


def test_few_seeds_are_said_to_be_few():
  assert 'Only 4 seeds' in statistics.trust(4)
  assert 'Only 1 seed:' in statistics.trust(1)
  assert statistics.trust(5) == ''


def test_each_learning_rate_has_its_best_other_hyperparameters():
  scores = pd.DataFrame(
    {
      'learning_rate': [1.0, 1, 1, 0.1, 0.1],
      'strategy.x.weight': [1.0, 1, 2, 1, 2],
      'score': [0.2, 0.4, 0.25, 0.5, 0.6],
    }
  )
  rates, found = statistics.by_learning_rate(scores)
  assert rates.tolist() == [0.1, 1]
  np.testing.assert_allclose(found.point, [0.6, 0.3])
  _, found = statistics.by_learning_rate(scores, lower_is_better=True)
  np.testing.assert_allclose(found.point, [0.5, 0.25])


def test_the_widest_working_range_by_hand():
  rates = 10.0 ** np.arange(-3, 4)
  scores = [0.6, 0.2, 0.4, 0.8, 0.8, 0.0, 0.55]
  found = statistics.working_range(rates, scores, 0.5)
  # It starts 1/4 of the way from 1e-1 to 1e0, ends 3/8 of that from 1e1 to 1e2.
  assert found.low == pytest.approx(10**-0.75)
  assert found.high == pytest.approx(10**1.375)
  assert found.decades == pytest.approx(2.125)
  assert not found.open


def test_a_working_range_may_be_open_or_empty():
  rates = [0.1, 1, 10]
  assert statistics.working_range(rates, [0.6, 0.7, 0.5], 0.5) == (
    2, pytest.approx(0.1), pytest.approx(10), True,
  )  # fmt: skip
  assert statistics.working_range(rates, [0.1, 0.7, 0.5], 0.5).open
  found = statistics.working_range(rates, [0.1, 0.2, 0.1], 0.5)
  assert found.decades == 0 and np.isnan(found.low)
  found = statistics.working_range(rates, [0.1, 0.5, 0.1], 0.5)
  assert found.decades == 0 and found.low == pytest.approx(1)


def test_the_width_of_the_working_range_by_hand():
  """Seeds that work over one decade or three; their mean over two."""
  rates = 10.0 ** np.arange(-3, 2)
  narrow, wide = [0, 0, 1, 0, 0], [0, 1, 1, 1, 0]
  found = statistics.working_decades(rates, [narrow, wide] * 4, 0.5)
  assert found.point == pytest.approx(2)
  assert 1 <= found.low < 2 < found.high <= 3
  same = statistics.working_decades(rates, [wide] * 4, 0.5)
  assert same.low == same.high == same.point == pytest.approx(3)
