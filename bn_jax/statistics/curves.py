"""Curves of a comparison: over targets, budgets and learning rates."""

from typing import NamedTuple

import numpy as np
from scipy import special

from bn_jax.statistics.intervals import Interval, interval, percentile_ends


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
    [percentile_ends(scores, _best_of(k), num_resamples) for k in trials]
  )
  return Interval(point, low, high)


def _best_of(k):
  def best(values, axis=0):
    ordered = np.sort(np.moveaxis(values, axis, -1), axis=-1)
    n = ordered.shape[-1]
    weights = special.comb(np.arange(n), k - 1) / special.comb(n, k)
    return ordered @ weights

  return best


def by_learning_rate(scores, lower_is_better=False):
  """Final scores over the learning rate, of one strategy.

  Where other hyperparameters vary, each rate has those that are best there.

  Args:
    scores: of `finals`, one strategy.
    lower_is_better: for a loss.

  Returns:
    (rates, Interval): (r,) ascending, and of (r,).
  """
  others = [c for c in scores.columns if c.startswith('strategy.')]
  pick = min if lower_is_better else max
  rates, ends = [], []
  for rate, rows in scores.groupby('learning_rate'):
    groups = rows.groupby(others or ['learning_rate'], dropna=False)
    best = pick((g for _, g in groups), key=lambda g: g.score.mean())
    rates.append(rate)
    ends.append(interval(best.score.to_numpy()))
  return np.array(rates), Interval(*np.reshape(ends, (-1, 3)).T)


class WorkingRange(NamedTuple):
  """The widest range of learning rates that work."""

  decades: float
  low: float
  high: float
  open: bool
  """Whether it reaches the end of what was tried, and may be wider."""


def working_range(rates, scores, target):
  """The widest range of learning rates over which scores reach a target.

  Args:
    rates: (r,) learning rates, ascending.
    scores: (r,) mean scores, higher is better; between rates they are taken as
      linear in the logarithm of the rate.
    target: the score from which on a rate works.

  Returns:
    WorkingRange; of 0 decades, with NaN ends, if no rate works.
  """
  best = WorkingRange(0.0, np.nan, np.nan, False)
  x, y = _with_crossings(np.log10(rates), np.asarray(scores, float), target)
  start = None
  for i in range(len(x)):
    works = y[i] >= target
    start = i if works and start is None else start
    if start is not None and (not works or i == len(x) - 1):
      end = i if works else i - 1
      at_edge = start == 0 or end == len(x) - 1
      width = x[end] - x[start]
      if width > best.decades or np.isnan(best.low):
        best = WorkingRange(
          float(width), float(10 ** x[start]), float(10 ** x[end]), at_edge
        )
      start = None
  return best


def working_decades(rates, scores, target, *, num_resamples=999):
  """The width of the working range, with an interval over seeds.

  Args:
    rates: (r,) learning rates, ascending.
    scores: (n, r) scores of each seed at each rate, higher is better.
    target: mean score from which on a rate works.
    num_resamples: draws, of whole seeds.

  Returns:
    Interval, in decades.
  """
  scores = np.asarray(scores, np.float64)

  def width(seeds, axis=0):
    def of(seeds):
      mean = scores[seeds.astype(int)].mean(0)
      return working_range(rates, mean, target).decades

    return np.apply_along_axis(of, axis, seeds)

  return interval(np.arange(len(scores)), width, num_resamples=num_resamples)


def _with_crossings(x, y, target):
  """The points, and those between them where the line meets the target."""
  cross = np.flatnonzero((y[1:] >= target) != (y[:-1] >= target))
  at = (target - y[cross]) / (y[cross + 1] - y[cross])
  new = x[cross] + at * (x[cross + 1] - x[cross])
  return (
    np.insert(x, cross + 1, new),
    np.insert(y, cross + 1, np.full(len(cross), target)),
  )
