import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from bn_jax.layers.decorrelated_batch_norm import (
  DecorrelatedBatchNorm,
  inverse_sqrt,
)

RANDOM = np.random.default_rng(0)
MIX = RANDOM.normal(size=(6, 6))
X = (RANDOM.normal(size=(64, 6)) @ MIX + 5).astype(np.float32)


def run(x=X, train=True, stats=None, mask=None, **fields):
  module = DecorrelatedBatchNorm(**{'epsilon': 1e-8, **fields})
  start = module.init(jax.random.key(0), x, False)
  y, new = module.apply(
    {**start, 'batch_stats': stats or start['batch_stats']},
    x,
    not train,
    mask=mask,
    mutable=['batch_stats'],
  )
  return np.asarray(y), new['batch_stats']


@pytest.mark.parametrize('method', ['zca', 'cholesky'])
def test_groups_are_white_and_as_in_numpy(method):
  y, _ = run(method=method, group_size=3)
  for part in (slice(0, 3), slice(3, 6)):
    off = X[:, part] - X[:, part].mean(0)
    cov = off.T @ off / len(X)
    values, vectors = np.linalg.eigh(cov)
    white = {
      'zca': vectors / np.sqrt(values) @ vectors.T,
      'cholesky': np.linalg.inv(np.linalg.cholesky(cov)),
    }[method]
    np.testing.assert_allclose(y[:, part], off @ white.T, atol=2e-3)
    np.testing.assert_allclose(
      np.cov(y[:, part].T, bias=True), np.eye(3), atol=2e-3
    )


def test_group_of_one_is_batch_norm():
  y, _ = run(group_size=1)
  np.testing.assert_allclose(y, (X - X.mean(0)) / X.std(0), atol=1e-4)


def test_largest_divisor_is_the_group():
  assert run(group_size=5)[1]['mean'].shape == (2, 3)


def test_gradient_is_right_even_where_eigenvalues_are_equal():
  def loss(m):
    return jnp.sum(inverse_sqrt(m) * jnp.arange(9.0).reshape(3, 3))

  for m in (jnp.eye(3) * 2, jnp.array(np.cov(X[:, :3].T), jnp.float32)):
    g = jax.grad(loss)(m)
    step = 1e-2 * jnp.array([[1, 2, 0], [2, -1, 1], [0, 1, 3.0]])
    wanted = (loss(m + step) - loss(m - step)) / 2
    np.testing.assert_allclose(jnp.sum(g * step), wanted, rtol=1e-2)


def test_masked_examples_do_not_count():
  mask = np.arange(64)[:, None] < 40
  y, stats = run(mask=mask)
  wanted, alone = run(X[:40])
  np.testing.assert_allclose(y[:40], wanted, atol=1e-4)
  np.testing.assert_allclose(stats['cov'], alone['cov'], rtol=1e-4)
  nothing, kept = run(mask=np.zeros((64, 1), bool), stats=stats)
  assert np.isfinite(nothing).all()
  np.testing.assert_array_equal(kept['cov'], stats['cov'])


def test_running_statistics_whiten_at_evaluation():
  y, stats = run()
  once, _ = run(train=False, stats=stats)
  np.testing.assert_allclose(once, y, atol=1e-2)
  alone, _ = run(X[:1], train=False, stats=stats)
  np.testing.assert_allclose(alone, once[:1], atol=1e-4)


def test_split_batch_is_whitened_as_a_whole(num_devices):
  num_devices(2)
  module = DecorrelatedBatchNorm(axis_name='data', epsilon=1e-8)
  start = DecorrelatedBatchNorm(epsilon=1e-8).init(jax.random.key(0), X, False)
  mesh = jax.make_mesh(
    (2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  spec = PartitionSpec('data')

  def apply(x):
    return module.apply(start, x, False, mutable=['batch_stats'])[0]

  split = jax.shard_map(apply, mesh=mesh, in_specs=spec, out_specs=spec)
  np.testing.assert_allclose(split(X), run()[0], atol=1e-4)
