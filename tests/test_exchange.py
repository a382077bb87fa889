"""Precise statistics, and folding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bn_jax
from bn_jax.errors import UserError
from bn_jax.layers.folding import Pair, find_pairs, fold_batch_norm
from bn_jax.layers.precise import precise_batch_stats

KEY = jax.random.key(0)
OURS_AND_FLAX = [bn_jax.BatchNorm, nn.BatchNorm]


class Net(nn.Module):
  """Dense and normalization, twice, with a second reader for the first."""

  norm: type | None
  momentum: float = 0.99
  both: bool = False

  @nn.compact
  def __call__(self, x, train=False):
    first = h = nn.Dense(7, use_bias=self.norm is None, name='Dense_0')(x)
    h = self._norm(h, train, 0)
    h = nn.Dense(7, name='Dense_1')(nn.relu(h))
    h = (
      self._norm(h + first, train, 1) if self.both else self._norm(h, train, 1)
    )
    return nn.Dense(3, name='head')(nn.relu(h))

  def _norm(self, h, train, i):
    if self.norm is None:
      return h
    return self.norm(
      use_running_average=not train,
      momentum=self.momentum,
      name=f'BatchNorm_{i}',
    )(h)


def randomized(variables, seed=0):
  """Every array is replaced by a positive random one."""
  leaves, tree = jax.tree.flatten(variables)
  rng = np.random.default_rng(seed)
  leaves = [
    jnp.asarray(rng.uniform(0.5, 1.5, a.shape), a.dtype) for a in leaves
  ]
  return jax.tree.unflatten(tree, leaves)


def forward(model):
  def f(variables, batch):
    return model.apply(variables, batch, train=True, mutable=['batch_stats'])[1]

  return f


def batches(mean=2.0, sizes=(16, 16, 8), seed=0):
  rng = np.random.default_rng(seed)
  return [
    rng.normal(mean + i, 1.5, (n, 5)).astype('f4') for i, n in enumerate(sizes)
  ]


@pytest.mark.parametrize('norm', OURS_AND_FLAX)
@pytest.mark.parametrize('momentum', [0.99, 0.9, 0.0, 0.1])
def test_precise_statistics_are_those_of_all_the_data(norm, momentum):
  model = Net(norm, momentum)
  data = batches()
  variables = randomized(model.init(KEY, data[0]))
  stats = precise_batch_stats(forward(model), variables, data)
  # Of the first layer, whose input no normalization has touched.
  h = (
    np.concatenate(data).astype('f8') @ variables['params']['Dense_0']['kernel']
  )
  np.testing.assert_allclose(stats['BatchNorm_0']['mean'], h.mean(0), rtol=1e-6)
  np.testing.assert_allclose(stats['BatchNorm_0']['var'], h.var(0), rtol=1e-5)
  assert jax.tree.map(jnp.shape, stats) == jax.tree.map(
    jnp.shape, variables['batch_stats']
  )


def test_precise_statistics_of_one_batch_are_the_batchs():
  """Then evaluation and training mode agree, in every layer."""
  model, (x, *_) = Net(nn.BatchNorm), batches()
  variables = randomized(model.init(KEY, x))
  stats = precise_batch_stats(forward(model), variables, [x])
  y, _ = model.apply(variables, x, train=True, mutable=['batch_stats'])
  found = model.apply({**variables, 'batch_stats': stats}, x)
  np.testing.assert_allclose(found, y, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize('norm', OURS_AND_FLAX)
@pytest.mark.parametrize('momentum', [0.99, 0.999])
def test_precise_statistics_lose_nothing_to_the_momentum(norm, momentum):
  layer = norm(momentum=momentum)
  x = batches(1e4, (64,))[0]
  variables = layer.init(KEY, x, use_running_average=False)

  def f(v, x):
    return layer.apply(
      v, x, use_running_average=False, mutable=['batch_stats']
    )[1]

  found = precise_batch_stats(f, variables, [x])['mean']
  np.testing.assert_allclose(found, x.astype('f8').mean(0), rtol=2e-7)


@pytest.mark.parametrize('average', ['debiased', 'cumulative'])
def test_precise_statistics_under_every_average(average):
  layer = bn_jax.BatchNorm(average=average, use_running_average=False)
  data = batches()
  variables = layer.init(KEY, data[0])
  for x in data:
    _, new = layer.apply(variables, x, mutable=['batch_stats'])
    variables = {**variables, **new}

  def f(v, x):
    return layer.apply(v, x, mutable=['batch_stats'])[1]

  stats = precise_batch_stats(f, variables, data)
  whole = np.concatenate(data).astype('f8')
  np.testing.assert_allclose(stats['mean'], whole.mean(0), rtol=1e-6)
  np.testing.assert_allclose(stats['var'], whole.var(0), rtol=1e-5)
  np.testing.assert_array_equal(stats['count'], 3)


def test_precise_statistics_weights_and_refusals():
  model, data = Net(bn_jax.BatchNorm), batches(sizes=(8, 8, 8))
  variables = model.init(KEY, data[0])
  f = forward(model)
  found = precise_batch_stats(f, variables, data, weights=[1, 0, 0])
  wanted = precise_batch_stats(f, variables, data[:1])
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  with pytest.raises(UserError, match=r'batches: none was given'):
    precise_batch_stats(f, variables, [])
  with pytest.raises(UserError, match=r'batch_stats: no layer'):
    precise_batch_stats(f, {**variables, 'batch_stats': {}}, data)


# Folding.


@pytest.mark.parametrize('norm', OURS_AND_FLAX)
@pytest.mark.parametrize('by_name', [True, False])
def test_folded_net_answers_the_same_without_normalization(norm, by_name):
  model, (x, *_) = Net(norm), batches()
  variables = randomized(model.init(KEY, x))
  params, stats = variables['params'], variables['batch_stats']
  if by_name:
    params = {k: v for k, v in params.items() if k != 'head'}
    pairs = None
  else:
    pairs = find_pairs(model, variables, x)
    assert [p.linear for p in pairs] == [('Dense_0',), ('Dense_1',)]
  folded, left = fold_batch_norm(params, stats, pairs)
  assert left == {}
  folded = {'head': variables['params']['head'], **folded}
  plain = Net(None)
  wanted = jax.eval_shape(plain.init, KEY, x)['params']
  assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, wanted)
  found = plain.apply({'params': folded}, x)
  y = model.apply(variables, x)
  assert np.abs(found - y).max() <= 1e-5 * np.abs(y).max()


def test_layer_with_a_second_reader_is_not_folded():
  model, (x, *_) = Net(nn.BatchNorm, both=True), batches()
  variables = randomized(model.init(KEY, x))
  assert find_pairs(model, variables, x) == ()


class ConvNet(nn.Module):
  """Residual blocks; `plain` is what is left of them after folding."""

  plain: bool = False

  @nn.compact
  def __call__(self, x):
    def unit(x, i, **options):
      conv = nn.Conv(
        8, (3, 3), use_bias=self.plain, name=f'conv_{i}', **options
      )
      x = conv(x)
      if self.plain:
        return x
      return bn_jax.BatchNorm(
        use_running_average=True, epsilon=1e-3, name=f'norm_{i}'
      )(x)

    x = nn.relu(unit(x, 0, strides=2))
    for i in range(2):
      h = nn.relu(unit(x, 2 * i + 1))
      x = nn.relu(x + unit(h, 2 * i + 2))
    return nn.Dense(3, name='head')(x.mean((1, 2)))


def test_convolutions_of_a_residual_net_fold():
  model = ConvNet()
  x = jax.random.normal(KEY, (2, 8, 8, 3))
  variables = randomized(model.init(KEY, x))
  pairs = find_pairs(model, variables, x)
  assert len(pairs) == 5 and all(p.epsilon == 1e-3 for p in pairs)
  params, left = fold_batch_norm(
    variables['params'], variables['batch_stats'], pairs
  )
  y, found = (
    model.apply(variables, x),
    ConvNet(True).apply({'params': params}, x),
  )
  assert left == {}
  assert np.abs(found - y).max() <= 1e-5 * np.abs(y).max()


def test_fold_says_what_does_not_match():
  with pytest.raises(UserError, match=r'pairs: .*give the pairs'):
    fold_batch_norm(
      {'a': {'kernel': jnp.ones((2, 3))}, 'bn': {'scale': jnp.ones(3)}},
      {'bn': {'mean': jnp.ones(3), 'var': jnp.ones(3)}, 'bn_1': {'var': 1}},
    )
  with pytest.raises(UserError, match=r'a: kernel \(2, 3\).*4 features'):
    fold_batch_norm(
      {'a': {'kernel': jnp.ones((2, 3))}},
      {'bn': {'mean': jnp.ones(4), 'var': jnp.ones(4)}},
      [Pair(('a',), ('bn',))],
    )
