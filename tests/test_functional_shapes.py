"""Integers, axes of NumPy's, and shapes that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import bn_jax
from bn_jax import functional

X = np.arange(6).reshape(3, 2)
MEAN, VAR = np.array([2.0, 3.0]), np.array([8 / 3, 8 / 3])
WANTED = (X - MEAN) / np.sqrt(VAR + 1e-5)


def test_integers_count_as_float32():
  """Fault: a result that is cut off to the input's integers."""
  found = functional.batch_norm(X)[0]
  also = functional.normalize(X, MEAN, VAR)
  for y in (found, also):
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, WANTED, rtol=1e-6)


@pytest.mark.parametrize('force', [True, False])
def test_the_layer_takes_integers_as_flax_does(force):
  fields = {'force_float32_reductions': force, 'use_running_average': False}
  ours, theirs = bn_jax.BatchNorm(**fields), nn.BatchNorm(**fields)
  variables = theirs.init(jax.random.key(0), X)
  (y, new), (wanted, stats) = (
    module.apply(variables, X, mutable=['batch_stats'])
    for module in (ours, theirs)
  )
  assert y.dtype == wanted.dtype
  np.testing.assert_allclose(y, wanted, rtol=1e-5)
  for name, value in stats['batch_stats'].items():
    assert new['batch_stats'][name].dtype == value.dtype
    np.testing.assert_allclose(new['batch_stats'][name], value, rtol=1e-5)


def test_an_axis_may_be_numpys():
  for axis in (np.int64(1), (np.int64(-1),), np.array([1])):
    np.testing.assert_allclose(
      functional.batch_norm(X, axis=axis)[0], WANTED, rtol=1e-6
    )


@pytest.mark.parametrize(
  'arguments, says',
  [
    ({'scale': np.ones((3, 2))}, r'scale: shape \(3, 2\); allowed is \(2,\)'),
    ({'bias': np.ones(3)}, r'bias: shape \(3,\); allowed is \(2,\)'),
    ({'mask': np.ones((1, 3, 2), bool)}, r'mask: .* allowed is \(3, 2\)'),
    ({'mask': np.ones((4, 1), bool)}, r'mask: shape \(4, 1\)'),
  ],
)
def test_a_shape_that_does_not_fit_is_named(arguments, says):
  """Fault: a result of another shape than x."""
  with pytest.raises(ValueError, match=says):
    functional.batch_norm(X, **arguments)


def test_statistics_that_do_not_fit_are_named():
  with pytest.raises(ValueError, match='var: '):
    functional.normalize(X, MEAN, np.ones((3, 2)))


@pytest.mark.parametrize('mask', [None, np.ones((0, 1), bool)])
def test_no_batch_counts_nothing(mask):
  """Fault: the mask's own size as it is, which divides by 0."""
  x = jnp.zeros((0, 3))
  found = functional.moments(x, mask=mask)
  for values in found:
    assert np.array_equal(values, np.zeros(3))
  y, _ = functional.batch_norm(x, mask=mask)
  assert y.shape == (0, 3)
