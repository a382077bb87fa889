"""A criterion that is written down before the run, and the verdict it gives."""

import math
from typing import NamedTuple

import numpy as np

from bn_jax import statistics
from bn_jax.errors import pick

SUPPORTED = 'supported'
NOT_SUPPORTED = 'not supported'
INCONCLUSIVE = 'inconclusive'

MEAN, EVERY = 'mean', 'every'


class Criterion(NamedTuple):
  """What must hold of a quantity for a claim to be supported."""

  quantity: str
  """Its name among the measured values."""
  says: str
  """The quantity in words, with its unit."""
  comparison: str
  """`<` or `>`: on which side of the threshold it must lie."""
  threshold: float
  seeds: int = 10
  """The fewest values, one a seed, that a verdict needs."""
  rule: str = MEAN
  """`mean`: the 95% interval of the mean must lie on that side as a whole;
  `every`: each value must, as an identity asks."""


class Finding(NamedTuple):
  """What came out of a criterion."""

  outcome: str
  value: float
  """The mean, or under `every` the value nearest to failing."""
  low: float
  high: float
  """The ends of the interval, or under `every` the smallest and largest."""
  count: int


def judge(criterion: Criterion, samples) -> Finding:
  """Holds measured values against a criterion.

  Args:
    criterion: Written before the values were measured.
    samples: (seeds,) values.

  Returns:
    A finding. It is inconclusive if a value is missing (NaN), if there are
    fewer values than the criterion asks for, or if the interval holds the
    threshold.

  Raises:
    UserError: For a comparison or rule that is not known.
  """
  pick('criterion.comparison', criterion.comparison, ('<', '>'))
  rule = pick('criterion.rule', criterion.rule, {MEAN: _mean, EVERY: _every})
  samples = np.asarray(samples, np.float64).ravel()
  if not len(samples) or np.isnan(samples).any():
    return Finding(INCONCLUSIVE, *[math.nan] * 3, len(samples))
  value, low, high = rule(samples, criterion.comparison)
  outcome = _side(low, high, criterion)
  if rule is _every and outcome == INCONCLUSIVE:
    outcome = NOT_SUPPORTED  # one exception is enough against an identity
  if len(samples) < criterion.seeds:
    outcome = INCONCLUSIVE
  return Finding(outcome, float(value), float(low), float(high), len(samples))


def combine(findings) -> str:
  """The verdict on a claim: it stands only if each of its parts does."""
  outcomes = [finding.outcome for finding in findings]
  if not outcomes:
    return INCONCLUSIVE
  for worst in (NOT_SUPPORTED, INCONCLUSIVE):
    if worst in outcomes:
      return worst
  return SUPPORTED


def _mean(samples, comparison):
  del comparison
  return statistics.interval(samples)


def _every(samples, comparison):
  low, high = samples.min(), samples.max()
  return (high if comparison == '<' else low), low, high


def _side(low, high, criterion):
  below, above = high < criterion.threshold, low > criterion.threshold
  if criterion.comparison == '>':
    below, above = above, below
  if below:
    return SUPPORTED
  return NOT_SUPPORTED if above else INCONCLUSIVE
