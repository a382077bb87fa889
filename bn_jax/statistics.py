"""What a comparison may claim: intervals, tests and curves over seeds.

Resampling is scipy's. A member that diverged is a failed run and stays in
every average, at chance level. The statistics follow Agarwal et al. 2021, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv 2108.13264), and Dodge et al. 2019, "Show Your Work" (arXiv 1909.03004).
"""

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

MIN_SEEDS = 5
GROUP = ['strategy', 'variant']


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
  low, high = (np.where(np.isnan(e), point, e) for e in (low, high))
  return Interval(point, low[()], high[()])


def _pool(statistic):
  def pooled(*strata, axis=0):
    # Not what scipy broadcasts strata for: they may differ in length.
    return statistic(np.concatenate(strata, axis=axis), axis=axis)

  return pooled


def _bootstrap(samples, statistic, num_resamples, seed, *methods):
  """Low and high by the first of the methods that is defined."""
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
        batch=max(1, int(2e6 / max(s.size for s in samples))),
        rng=np.random.default_rng(seed),
      ).confidence_interval
    low = np.where(np.isnan(low), found.low, low)
    high = np.where(np.isnan(high), found.high, high)
  return low, high


def probability_of_improvement(a, b, *, num_resamples=9999, seed=0):
  """How probable it is that a run of A beats a run of B; a tie is half.

  Args:
    a: (n,) scores, higher is better.
    b: (m,) scores.
    num_resamples: draws.
    seed: of the draws.

  Returns:
    Interval. If one beats the other in every pair, it has no width.
  """
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)

  def wins(a, b, axis=0):
    a, b = np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)
    pairs = a[..., :, None] - b[..., None, :]
    return np.mean(0.5 * (1 + np.sign(pairs)), axis=(-2, -1))

  point = float(wins(a, b))
  if min(len(a), len(b)) < 2:
    return Interval(point, point, point)
  low, high = _bootstrap((a, b), wins, num_resamples, seed, 'percentile')
  return Interval(point, float(low), float(high))


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
    (95% bootstrap), `p` (sign-flip permutation test, exact up to 13 pairs, two-
    sided), `p_holm`, `pairs`. With n pairs, p is at least 2 / 2**n: below 6
    pairs no difference can be significant at 5%.
  """
  wide = scores.pivot_table(
    index=['variant', 'seed'], columns='strategy', values='score'
  )
  rows = {
    name: _paired((wide[name] - wide[reference]).dropna().to_numpy())
    for name in wide.columns
    if name != reference
  }
  names = ['difference', 'low', 'high', 'p', 'pairs']
  table = pd.DataFrame.from_dict(rows, orient='index', columns=names)
  table.insert(4, 'p_holm', holm(table.p))
  return table.rename_axis('strategy')


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


def performance_profile(scores, targets, *, num_resamples=999):
  """The share of runs that reach each target (Dolan & More 2002).

  Args:
    scores: (n,) scores, higher is better.
    targets: (t,) values.
    num_resamples: draws of the pointwise interval.

  Returns:
    Interval of arrays (t,).
  """
  reached = np.asarray(scores)[:, None] >= np.asarray(targets)[None, :]
  return interval(reached, num_resamples=num_resamples)


def best_after_trials(scores, num_resamples=999):
  """The best score that a user with a budget of k trials expects to find.

  The mean of the maximum over all sets of k of the n trials, exactly:
  sum_i x_(i) C(i - 1, k - 1) / C(n, k) over the sorted trials.

  Args:
    scores: (n,) validation scores of the trials, higher is better.
    num_resamples: draws of the pointwise interval, over trials.

  Returns:
    Interval of arrays (n,): k = 1 ... n.
  """
  scores = np.asarray(scores, np.float64)
  trials = range(1, len(scores) + 1)
  point = np.array([_best_of(k)(scores) for k in trials])
  if len(scores) < 2:
    return Interval(point, point, point)
  low, high = np.transpose(
    # BCa would leave a trial out, and then there is no best of n.
    [
      _bootstrap((scores,), _best_of(k), num_resamples, 0, 'percentile')
      for k in trials
    ]
  )
  return Interval(point, low, high)


def _best_of(k):
  def best(values, axis=0):
    ordered = np.sort(np.moveaxis(values, axis, -1), axis=-1)
    n = ordered.shape[-1]
    weights = special.comb(np.arange(n), k - 1) / special.comb(n, k)
    return ordered @ weights

  return best


def failure(metric, chance):
  """What a run that diverged scores: chance accuracy, or the loss of a guess.

  Args:
    metric: a name; `.../accuracy` and `.../loss` (nats) have such a level.
    chance: 1 / number of classes.
  """
  if metric.endswith('accuracy'):
    return chance
  return -np.log(chance) if metric.endswith('loss') else np.nan


def finals(df, metric, *, chance=0.1):
  """The last value of a metric per member; a failure if it diverged.

  Returns:
    A DataFrame with a row per (run, member): `run`, `strategy`, `variant`,
    `member`, `seed`, `learning_rate`, the dotted hyperparameters, `diverged_at`
    and `score`.
  """
  keys = ['run', 'member']
  about = [*GROUP, 'seed', 'learning_rate', 'diverged_at']
  about += [c for c in df.columns if '.' in c and '/' not in c]
  rows = (
    df.sort_values([*keys, 'step'])
    .groupby(keys, sort=False)
    .agg({name: 'first' for name in about} | {metric: 'last'})
  )
  rows = rows.rename(columns={metric: 'score'}).reset_index()
  rows.loc[rows.diverged_at >= 0, 'score'] = failure(metric, chance)
  return rows


def with_failures(df, metric, *, chance=0.1):
  """`metric` of every row, at `failure` from where its member diverged."""
  dead = (df.diverged_at >= 0) & (df.step >= df.diverged_at)
  return df[metric].mask(dead, failure(metric, chance))


def steps_to(df, metric, target):
  """Steps until a metric first reaches a target, per member.

  Returns:
    A DataFrame with a row per (run, member): `run`, `strategy`, `variant`,
    `member`, `seed` and `steps`, inf if the target was never reached (right-
    censored) or the member diverged.
  """
  keys = ['run', *GROUP, 'member', 'seed']
  reached = (df[metric] >= target) & (df.diverged_at < 0)
  steps = df.step.astype(float).where(reached, np.inf)
  steps = steps.groupby([df[k] for k in keys], sort=False).min()
  return steps.rename('steps').reset_index()


def trust(num_seeds):
  """A sentence on how far intervals over so many seeds may be trusted."""
  if num_seeds >= MIN_SEEDS:
    return ''
  plural = '' if num_seeds == 1 else 's'
  return (
    f'Only {num_seeds} seed{plural}: the intervals are not to be trusted'
    f' (at least {MIN_SEEDS} are needed, better 10).'
  )
