"""Estimates with bootstrap intervals, and tests between strategies."""

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

MIN_SEEDS = 5


class Interval(NamedTuple):
  """An estimate and the ends of its 95% interval (the point itself if none)."""

  point: float
  low: float
  high: float


def iqm(values, axis=0):
  """Interquartile mean: the mean without the lowest and highest quarter."""
  return stats.trim_mean(values, 0.25, axis=axis)


def interval(samples, statistic=np.mean, *, num_resamples=9999, seed=0):
  """A bootstrap interval at 95%, stratified if there is more than one sample.

  BCa for one sample (Efron 1987), percentiles for several, each of which is
  resampled by itself, and wherever BCa is not defined.

  Args:
    samples: (n,) or (n, ...) values, a seed each; or a tuple of such, a stratum
      each, whose values are pooled. With trailing axes: one interval each.
    statistic: function of (values, axis).
    num_resamples: draws.
    seed: of the draws.

  Returns:
    Interval of floats, or of arrays (...). One value, or values that are all
    equal, give an interval of no width: it says that there was nothing to
    resample, not that the value is certain.
  """
  strata = samples if isinstance(samples, tuple) else (samples,)
  strata = tuple(np.asarray(s, np.float64) for s in strata)
  point = _pool(statistic)(*strata, axis=0)
  big = tuple(s for s in strata if len(s) > 1)
  if len(big) < len(strata) or not len(strata[0]):
    return Interval(point, point, point)
  methods = ('BCa', 'percentile') if len(strata) == 1 else ('percentile',)
  low, high = _bootstrap(
    strata, _pool(statistic), num_resamples, seed, *methods
  )
  return Interval(point, low[()], high[()])


def _pool(statistic):
  def pooled(*strata, axis=0):
    # Not what scipy broadcasts strata for: they may differ in length.
    return statistic(np.concatenate(strata, axis=axis), axis=axis)

  return pooled


def _bootstrap(samples, statistic, num_resamples, seed, *methods, size=0):
  """Low and high by the first of the methods that is defined.

  Args:
    samples: A tuple of arrays (n, ...).
    statistic: As of `scipy.stats.bootstrap`.
    num_resamples: draws.
    seed: of the draws.
    *methods: Names; the next where one is not defined.
    size: Numbers that the statistic holds for a draw, where it needs more than
      the samples.
  """
  size = max(size, *(s.size for s in samples))
  low = high = np.nan
  for method in methods:
    with warnings.catch_warnings(), np.errstate(all='ignore'):
      warnings.simplefilter('ignore', stats.DegenerateDataWarning)
      warnings.simplefilter('ignore', RuntimeWarning)
      found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=num_resamples,
        method=method,
        vectorized=True,
        axis=0,
        batch=max(1, int(2e6 / size)),
        rng=np.random.default_rng(seed),
      ).confidence_interval
    low = np.where(np.isnan(low), found.low, low)
    high = np.where(np.isnan(high), found.high, high)
  return low, high


def probability_of_improvement(a, b, *, num_resamples=9999, seed=0):
  """How probable it is that a run of A beats a run of B; a tie is half.

  Args:
    a: (n,) scores, higher is better; or a tuple of such, a stratum each, over
      which the probability is averaged.
    b: (m,) scores, or as many strata.
    num_resamples: draws.
    seed: of the draws.

  Returns:
    Interval. If one beats the other in every pair, it has no width.
  """
  a, b = (x if isinstance(x, tuple) else (x,) for x in (a, b))
  samples = tuple(np.asarray(x, np.float64) for x in (*a, *b))

  def wins(*samples, axis=0):
    return np.mean(
      [_wins(x, y, axis) for x, y in zip(
        samples[: len(a)], samples[len(a) :], strict=True)],
      axis=0,
    )  # fmt: skip

  point = float(wins(*samples))
  if min(map(len, samples)) < 2:
    return Interval(point, point, point)
  pairs = sum(len(x) * len(y) for x, y in zip(
    samples[: len(a)], samples[len(a) :], strict=True))  # fmt: skip
  low, high = _bootstrap(
    samples, wins, num_resamples, seed, 'percentile', size=pairs
  )
  return Interval(point, float(low), float(high))


def _wins(a, b, axis):
  a, b = np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)
  pairs = a[..., :, None] - b[..., None, :]
  return np.mean(0.5 * (1 + np.sign(pairs)), axis=(-2, -1))


def percentile_ends(sample, statistic, num_resamples):
  """Low and high for a statistic that BCa's leaving one out does not suit."""
  return _bootstrap((sample,), statistic, num_resamples, 0, 'percentile')


def holm(p):
  """P-values adjusted by Holm's step-down method (Holm 1979); any order."""
  p = np.asarray(p, np.float64)
  order = np.argsort(p)
  steps = p[order] * np.arange(len(p), 0, -1)
  adjusted = np.empty_like(p)
  adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
  return adjusted


def paired_differences(scores, reference):
  """Differences to a reference within seeds, with Holm's correction.

  Args:
    scores: DataFrame with `strategy`, `variant`, `seed`, `score` (of `finals`).
    reference: the strategy that the others are compared with.

  Returns:
    A DataFrame indexed by the other strategies: `difference`, `low`, `high`
    (95% bootstrap), `p` (two-sided sign-flip permutation test, exact up to 13
    pairs), `p_holm`, `pairs` (seeds; of a seed's variants the mean is taken).
    With n pairs, p is at least 2 / 2**n: below 6 pairs no difference can be
    significant at 5%.
  """
  wide = scores.pivot_table(
    index=['variant', 'seed'], columns='strategy', values='score'
  )
  rows = {
    name: _paired(_within_seeds(wide[name] - wide[reference]))
    for name in wide.columns
    if name != reference
  }
  names = ['difference', 'low', 'high', 'p', 'pairs']
  table = pd.DataFrame.from_dict(rows, orient='index', columns=names)
  table.insert(4, 'p_holm', holm(table.p))
  return table.rename_axis('strategy')


def _within_seeds(differences):
  """One value per seed: its variants share data and are no further evidence."""
  return differences.dropna().groupby('seed').mean().to_numpy()


def _paired(differences):
  if not len(differences):
    return (np.nan, np.nan, np.nan, 1.0, 0)
  p = 1.0
  if len(differences) > 1 and np.any(differences):
    p = stats.permutation_test(
      (differences,),
      np.mean,
      permutation_type='samples',
      vectorized=True,
      rng=np.random.default_rng(0),
    ).pvalue
  return (*map(float, interval(differences)), float(p), len(differences))


def trust(num_seeds):
  """A sentence on how far intervals over so many seeds may be trusted."""
  if num_seeds >= MIN_SEEDS:
    return ''
  plural = '' if num_seeds == 1 else 's'
  return (
    f'Only {num_seeds} seed{plural}: the intervals are not to be trusted'
    f' (at least {MIN_SEEDS} are needed, better 10).'
  )
