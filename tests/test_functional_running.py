"""Averages of batch statistics over steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from bn_jax import functional


def trail(average, momentum, values, start=7.0, present=None):
  running, count = jnp.asarray(start), jnp.asarray(0.0)
  for i, v in enumerate(values):
    here = True if present is None else present[i]
    running = functional.update_running(
      running, v, momentum, count=count, present=here, average=average
    )
    count += here
  return float(running)


def test_moving_average_is_flaxs():
  wanted = 7.0
  for v in (1.0, 4.0, 2.0):
    wanted = 0.9 * wanted + 0.1 * v
  np.testing.assert_allclose(trail('ema', 0.9, [1.0, 4.0, 2.0]), wanted, 1e-6)


@pytest.mark.parametrize('momentum', [0.0, 0.5, 0.99, 0.9999])
def test_debiased_average_forgets_where_it_started(momentum):
  values = [1.0, 4.0, 2.0, 9.0]
  weights = np.array([momentum ** (3 - i) for i in range(4)])
  wanted = (weights * values).sum() / weights.sum()
  found = trail('debiased', momentum, values)
  np.testing.assert_allclose(found, wanted, 1e-5)
  assert found == trail('debiased', momentum, values, start=-3.0)


def test_cumulative_average_is_the_mean():
  values = [1.0, 4.0, 2.0, 9.0]
  assert trail('cumulative', 0.9, values) == pytest.approx(4.0, 1e-6)
  assert trail('debiased', 1.0, values) == pytest.approx(4.0, 1e-6)


@pytest.mark.parametrize('average', functional.AVERAGES)
def test_absent_batch_changes_nothing(average):
  values, present = [1.0, 50.0, 2.0], [True, False, True]
  found = trail(average, 0.9, values, present=present)
  assert found == trail(average, 0.9, [1.0, 2.0])


def test_average_is_a_known_one():
  with pytest.raises(ValueError, match=r"average: 'mean'.*'ema'"):
    functional.update_running(0.0, 1.0, 0.9, count=0, average='mean')


@pytest.mark.parametrize('average', ['debiased', 'cumulative'])
def test_an_average_that_counts_needs_a_count(average):
  """Fault: what JAX says of None."""
  with pytest.raises(ValueError, match=f"count: None; '{average}' needs"):
    functional.update_running(0.0, 1.0, 0.9, average=average)


def test_unbiased_variance():
  x = np.random.default_rng(0).normal(size=(9, 2))
  found = functional.unbiased_variance(x.var(0), 9)
  np.testing.assert_allclose(found, x.var(0, ddof=1), rtol=1e-6)
  assert functional.unbiased_variance(jnp.zeros(()), 1) == 0
