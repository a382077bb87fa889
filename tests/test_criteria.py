import math

import numpy as np
import pytest

from bn_jax import criteria
from bn_jax.criteria import (
  EVERY,
  INCONCLUSIVE,
  NOT_SUPPORTED,
  SUPPORTED,
  Criterion,
)
from bn_jax.errors import UserError

ABOVE = Criterion('q', 'a quantity', '>', 1.0)
IDENTITY = Criterion('q', 'an error', '<', 1e-10, rule=EVERY)
NOISE = np.random.default_rng(0).normal(size=12)


@pytest.mark.parametrize(
  ('center', 'outcome'),
  [(3, SUPPORTED), (-1, NOT_SUPPORTED), (1, INCONCLUSIVE)],
)
def test_mean_is_held_against_threshold_as_interval(center, outcome):
  samples = center + NOISE - NOISE.mean()
  found = criteria.judge(ABOVE, samples)
  assert found.outcome == outcome
  assert found.low < found.value < found.high
  mirrored = criteria.judge(
    ABOVE._replace(comparison='<', threshold=-1.0), -samples
  )
  assert mirrored.outcome == outcome


def test_identity_fails_by_one_exception():
  samples = np.full(10, 1e-16)
  assert criteria.judge(IDENTITY, samples).outcome == SUPPORTED
  samples[3] = 1e-3
  found = criteria.judge(IDENTITY, samples)
  assert found.outcome == NOT_SUPPORTED
  assert found.value == 1e-3


def test_too_few_seeds_or_missing_values_are_inconclusive():
  few = criteria.judge(ABOVE, np.full(9, 5.0))
  assert few.outcome == INCONCLUSIVE
  assert few.count == 9
  assert criteria.judge(IDENTITY, [math.nan] * 10).outcome == INCONCLUSIVE
  assert criteria.judge(ABOVE, []).outcome == INCONCLUSIVE


def test_a_claim_stands_only_if_each_part_does():
  good, bad, unsure = (
    criteria.judge(ABOVE, center + NOISE) for center in (5, -5, 1)
  )
  assert criteria.combine([good, good]) == SUPPORTED
  assert criteria.combine([good, unsure]) == INCONCLUSIVE
  assert criteria.combine([unsure, bad, good]) == NOT_SUPPORTED
  assert criteria.combine([]) == INCONCLUSIVE


def test_unknown_words_are_refused():
  with pytest.raises(UserError, match='comparison'):
    criteria.judge(ABOVE._replace(comparison='>='), NOISE)
  with pytest.raises(UserError, match='rule'):
    criteria.judge(ABOVE._replace(rule='median'), NOISE)
