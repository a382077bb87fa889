"""The models for vectors: where their sites stand, what they compute.

Convolutional ones are in tests/test_models_conv.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from bn_jax import config as config_lib
from bn_jax import models, step, trees
from bn_jax.errors import UserError
from bn_jax.layers.site import survey

X = jax.ShapeDtypeStruct((2, 6), jnp.float32)


def build(chained=('none',), model='mlp', **fields):
  made = tiny.config(chained, model, **fields).to_dict()
  return step.assemble(made, {}, tiny.CLASSES).model


def count(chained, model='mlp', **fields):
  built = build(chained, model, **fields)
  variables = jax.eval_shape(
    lambda x: built.init(jax.random.key(0), x, train=False), X
  )
  return trees.num_parameters(variables['params'])


@pytest.mark.parametrize(
  'site, feeders, widths',
  [
    ('pre_activation', ['dense_0', 'dense_1', 'dense_2'], [8, 8, 8]),
    ('post_activation', [None] * 3, [8, 8, 8]),
    ('input', [None] * 3, [6, 8, 8]),
  ],
)
def test_sites_of_the_mlp(site, feeders, widths):
  """Planted: sites that stand on the other side of the nonlinearity."""
  found = survey(build(**{'model.site': site, 'model.depth': 3}), X)
  assert [s.path for s in found] == ['site_0', 'site_1', 'site_2']
  assert [s.feeder for s in found] == feeders
  assert [s.shape for s in found] == [(w,) for w in widths]


@pytest.mark.parametrize('act', ['sigmoid', 'tanh', 'relu', 'linear'])
@pytest.mark.parametrize('site', ['pre_activation', 'post_activation', 'input'])
def test_the_mlp_is_that_of_numpy(site, act):
  """With an affine map at each site, so that its place shows."""
  functions = {
    'sigmoid': lambda x: 1 / (1 + np.exp(-x)),
    'tanh': np.tanh,
    'relu': lambda x: np.maximum(x, 0),
    'linear': lambda x: x,
  }
  fields = {'model.site': site, 'model.activation': act}
  net = tiny.net(['activation_penalty'], **fields)
  x, params = net.image, net.state.params

  def affine(i, where, x):
    norm = params[f'site_{i}']['norm']
    return x * norm['scale'] + norm['bias'] if site == where else x

  for i in range(2):
    layer = params[f'dense_{i}']
    x = affine(i, 'input', x) @ layer['kernel'] + layer['bias']
    x = functions[act](affine(i, 'pre_activation', x))
    x = affine(i, 'post_activation', x)
  x = x @ params['head']['kernel'] + params['head']['bias']
  found = net.forward(params, {}).logits
  np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  'chained, site, wanted',
  [
    # 6 x 8 + 8 x 8 + 8 x 3 weights; 8 + 8 + 3 biases; 2 x 16 at the sites.
    (['none'], 'pre_activation', 136 + 19),
    (['batch_norm'], 'pre_activation', 136 + 3 + 32),
    (['batch_norm'], 'post_activation', 136 + 19 + 32),
    (['batch_norm'], 'input', 136 + 19 + 28),
    (['renormalize'], 'pre_activation', 136 + 19 + 32),
    (['activation_penalty'], 'pre_activation', 136 + 19 + 32),
    (['lsuv'], 'pre_activation', 136 + 19),
    (['batch_norm', 'adaptive_grad_clip'], 'pre_activation', 136 + 3 + 32),
  ],
)
def test_a_bias_is_dropped_where_it_is_redundant_alone(chained, site, wanted):
  """Planted: dropped wherever batch_norm is; kept before it."""
  assert count(chained, **{'model.site': site}) == wanted


def test_examples_of_any_shape_are_flattened():
  built = build()
  shape = jax.eval_shape(
    lambda x: built.init_with_output(jax.random.key(0), x, train=False)[0],
    jax.ShapeDtypeStruct((5, 2, 3, 4), jnp.float32),
  )
  assert shape.shape == (5, tiny.CLASSES)


@pytest.mark.parametrize('use_bias', [False, True])
def test_the_linear_chain_is_a_product(use_bias):
  """Planted: a nonlinearity, a bias behind one layer alone."""
  fields = {'model.use_bias': use_bias, 'model.width': 2, 'model.depth': 3}
  net = tiny.net(['none'], model='linear_chain', **fields)
  x = net.image
  for name in ('dense_0', 'dense_1', 'dense_2', 'head'):
    layer = net.state.params[name]
    assert ('bias' in layer) == use_bias
    x = x @ layer['kernel'] + layer.get('bias', 0)
  found = net.forward(net.state.params, {}).logits
  np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-5)
  assert [s.feeder for s in net.forward.sites] == [
    f'dense_{i}' for i in range(3)
  ]


def test_the_textbooks_chain_has_a_weight_a_layer():
  fields = {'model.width': 1, 'model.depth': 4}
  assert count(['none'], 'linear_chain', **fields) == 6 + 3 + tiny.CLASSES


def test_initial_kernels_have_the_spread_that_is_asked_for():
  """Planted: a `kernel_stddev` that is not read."""
  fields = {'model.width': 100, 'model.kernel_init': 'normal'}
  for stddev in (0.05, 0.5):
    built = build(**fields, **{'model.kernel_stddev': stddev})
    init = jax.jit(lambda x, m=built: m.init(jax.random.key(0), x, train=False))
    kernel = init(jnp.zeros((1, 6)))['params']['dense_1']['kernel']
    np.testing.assert_allclose(kernel.std(), stddev, rtol=0.05)
    np.testing.assert_allclose(kernel.mean(), 0, atol=0.05 * stddev)


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('site', 'before', "model.site: 'before'; allowed are .*input"),
    ('activation', 'swish', "model.activation: 'swish'; .*sigmoid"),
    ('kernel_init', 'zeros', "model.kernel_init: 'zeros'; .*orthogonal"),
  ],
)
def test_names_that_there_are_not(field, value, words):
  with pytest.raises(UserError, match=words):
    survey(build(**{f'model.{field}': value}), X)


def test_the_folder_is_the_registry():
  assert {'mlp', 'linear_chain'} <= set(models.names())
  assert not [n for n in models.names() if n.startswith('_')]
  with pytest.raises(UserError, match=r"model.name: 'lenet'; .*mlp"):
    models.defaults('lenet')


@pytest.mark.parametrize('name', models.names())
def test_the_fields_of_a_model_are_its_config(name):
  """A field that a model takes from elsewhere is none."""
  made = config_lib.default('none', name)
  assert made.model.name == name
  assert not {'layers', 'num_classes', 'parent'} & set(made.model)
  assert set(made.model) - {'name'} == set(models.defaults(name))
