"""Distance from normalized, and percentiles of a unit.

Planted and seen: the variance for its root, a mean of roots, a mask that is
broadcast against the wrong axis, a level that is a share.
"""

import numpy as np
import pytest

from bn_jax.diagnostics.normality import distance
from bn_jax.diagnostics.percentiles import of_unit, percentiles
from bn_jax.layers.site import SiteValues

RANDOM = np.random.default_rng(0)


def test_distance_is_that_of_wasserstein():
  """Against optimal transport between sorted samples of two Gaussians."""
  quantiles = np.sort(RANDOM.normal(size=20_001))
  quantiles = (quantiles - quantiles.mean()) / quantiles.std()
  mean, std = np.array([0.3, -2.0]), np.array([0.5, 1.5])
  moved = mean + std * quantiles[:, None] - quantiles[:, None]
  found = distance(mean, std**2)
  np.testing.assert_allclose(found, np.sqrt(np.mean(moved**2)), rtol=1e-5)


def test_distance_of_normalized_and_of_dead_units():
  assert distance(np.zeros(3), np.ones(3)) == 0
  assert distance(np.zeros(3), np.zeros(3)) == 1
  assert distance(np.zeros((4, 3)), np.ones((4, 3))).shape == (4,)


def test_percentiles_are_numpys():
  x = RANDOM.normal(size=(30, 4))
  wanted = np.percentile(x, (15, 50, 85))
  np.testing.assert_allclose(percentiles(x), wanted, rtol=1e-5)
  found = percentiles(x, levels=(0, 100))
  np.testing.assert_allclose(found, [x.min(), x.max()], rtol=1e-5)


@pytest.mark.parametrize('shape', [(10, 3), (10, 4, 4, 3)])
def test_percentiles_of_a_unit_are_of_the_examples_that_count(shape):
  x = RANDOM.normal(size=shape).astype(np.float32)
  mask = np.arange(10) % 3 > 0
  given = mask.reshape(10, *[1] * (len(shape) - 1))
  values = SiteValues(0 * x, 0 * x, x, given)
  wanted = np.percentile(x[mask][..., 1], (15, 50, 85))
  np.testing.assert_allclose(of_unit(values, 1), wanted, rtol=1e-5)
  nothing = SiteValues(x, x, x, 0 * given)
  assert np.isnan(of_unit(nothing, 1)).all()
