"""Folding by name: what may be meant, and what is too ambiguous to guess."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import bn_jax
from bn_jax import config, step
from bn_jax.errors import UserError
from bn_jax.layers.folding import find_pairs, fold_batch_norm

KEY = jax.random.key(0)


def norm(x, plain, **options):
  """Nothing in the net that is left after folding."""
  if plain:
    return x
  return bn_jax.BatchNorm(use_running_average=True, **options)(x)


class ConvNet(nn.Module):
  """Two convolutions with normalizations, and a head without."""

  plain: bool = False
  classes: int = 3

  @nn.compact
  def __call__(self, x):
    for features in (4, 8):
      x = nn.Conv(features, (3, 3), use_bias=self.plain)(x)
      x = nn.relu(norm(x, self.plain))
    return nn.Dense(self.classes)(x.mean((1, 2)))


class DenseNet(nn.Module):
  """A convolution without, then twelve dense layers with a normalization."""

  plain: bool = False

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(4, (3, 3))(x)).reshape(len(x), -1)
    for i in range(12):  # Dense_10 is behind Dense_9, not behind Dense_1
      x = nn.Dense(5 + i, use_bias=self.plain)(x)
      x = jnp.tanh(norm(x, self.plain))
    return x


class Named(nn.Module):
  """Names of another style; the head has no number."""

  plain: bool = False

  @nn.compact
  def __call__(self, x):
    for i, features in enumerate((4, 4)):
      x = nn.Conv(features, (3, 3), use_bias=self.plain, name=f'conv{i + 1}')(x)
      x = nn.relu(norm(x, self.plain, name=f'bn{i + 1}'))
    return nn.Dense(3, name='head')(x.mean((1, 2)))


class Nested(nn.Module):
  """The same one floor down."""

  plain: bool = False

  @nn.compact
  def __call__(self, x):
    return nn.Dense(2)(jnp.tanh(ConvNet(self.plain)(x)))


def randomized(variables):
  """Other numbers than those of the start; variances above 0."""
  leaves, tree = jax.tree.flatten(variables)
  keys = jax.random.split(KEY, len(leaves))
  return jax.tree.unflatten(
    tree,
    [
      a + 0.3 * jax.random.uniform(k, a.shape)
      for a, k in zip(leaves, keys, strict=True)
    ],
  )


@pytest.mark.parametrize('net', [ConvNet, DenseNet, Named, Nested])
def test_kernels_of_one_kind_fold_by_name_beside_another_kind(net):
  x = jax.random.normal(KEY, (2, 6, 6, 3))
  variables = randomized(net().init(KEY, x))
  params, left = fold_batch_norm(variables['params'], variables['batch_stats'])
  plain = net(plain=True)
  wanted = jax.eval_shape(plain.init, KEY, x)['params']
  assert left == {}
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)
  y = net().apply(variables, x)
  found = plain.apply({'params': params}, x)
  assert np.abs(found - y).max() <= 1e-5 * np.abs(y).max()


def tree(widths, stats):
  """params and batch_stats of layers with these widths."""
  params = {n: {'kernel': jnp.ones((2, w))} for n, w in widths.items()}
  each = {
    n: {'mean': jnp.zeros(w), 'var': jnp.ones(w)} for n, w in stats.items()
  }
  return params, each


NORMS = {'BatchNorm_0': 4, 'BatchNorm_1': 8}
AMBIGUOUS = {
  'two kinds fit': (
    {'Conv_0': 4, 'Conv_1': 8, 'Dense_0': 4, 'Dense_1': 8},
    NORMS,
  ),
  'the head fits too': ({'Conv_0': 4, 'Conv_1': 8, 'Dense_0': 8}, NORMS),
  'one of each kind is normalized': (
    {'Conv_0': 8, 'Dense_0': 8, 'Dense_1': 8},
    {'BatchNorm_0': 8, 'BatchNorm_1': 8},
  ),
  'more kernels of the kind': (
    {'Conv_0': 4, 'Conv_1': 8, 'Conv_2': 8, 'Dense_0': 3},
    NORMS,
  ),
  'fewer': ({'Conv_0': 4, 'Dense_0': 3}, NORMS),
  'another order': ({'Conv_0': 8, 'Conv_1': 4, 'Dense_0': 3}, NORMS),
  'normalizations of two kinds': (
    {'Conv_0': 4, 'Conv_1': 8, 'Dense_0': 3},
    {'BatchNorm_0': 4, 'last': 8},
  ),
}


@pytest.mark.parametrize('what', AMBIGUOUS)
def test_nothing_is_folded_by_a_guess(what):
  with pytest.raises(UserError, match=r'pairs: the model .*give the pairs'):
    fold_batch_norm(*tree(*AMBIGUOUS[what]))


def test_the_one_that_may_be_meant():
  """What the ambiguous ones are measured against: this one folds."""
  params, left = fold_batch_norm(
    *tree({'Conv_0': 4, 'Conv_1': 8, 'Dense_0': 3}, NORMS)
  )
  assert left == {}
  assert [n for n, p in params.items() if 'bias' in p] == ['Conv_0', 'Conv_1']


def built(name, strategy, **fields):
  made = config.default(strategy, name)
  made.model.update(fields)
  return step.assemble(made.to_dict(), {}, 10).model


@pytest.mark.parametrize(
  'name, fields, sites',
  [('convnet', {}, 3), ('resnet', {'depth': 8}, 7), ('mlp', {}, 6)],
)
def test_models_of_the_configs_fold_into_those_without(name, fields, sites):
  x = jax.random.uniform(KEY, (4, 28, 28, 1))
  model, plain = (built(name, s, **fields) for s in ('batch_norm', 'none'))
  variables = jax.jit(lambda: model.init(KEY, x, train=False))()
  variables = randomized(variables)
  pairs = find_pairs(model, variables, x, train=False)
  assert len(pairs) == sites
  params, left = fold_batch_norm(
    variables['params'], variables['batch_stats'], pairs
  )
  assert left == {}
  wanted = model.apply(variables, x, train=False)
  found = plain.apply({'params': params}, x, train=False)
  assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
