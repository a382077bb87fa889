"""The convolutional models: wiring, sizes, and every strategy in them."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bn_jax import config as config_lib
from bn_jax import models, step, strategies, trees
from bn_jax.errors import UserError
from bn_jax.layers.layers import Layers
from bn_jax.models._trunk import pool

SMALL = {
  'convnet': {'features': (4, 6), 'convs_per_stage': 2},
  'resnet': {'depth': 8, 'width': 4},
}
BLOCKS = ('post_activation', 'pre_activation')


def program(model, chained='none', size=8, dtype='float32', **fields):
  """A run's functions on images of `size` x `size` with 3 channels."""
  config = config_lib.default(chained, model)
  config.model.update(SMALL[model] | fields)
  config.dtype = dtype
  zero, one = np.zeros(3, 'float32'), np.ones(3, 'float32')
  spec = step.Spec((size, size, 3), np.dtype('float32'), 10, zero, one)
  return step.build(config.to_dict(), spec)


def batch(size=8, count=16):
  random = np.random.default_rng(0)
  image = random.normal(size=(count, size, size, 3)).astype('float32')
  return {'image': image, 'label': np.arange(count, dtype='int32') % 10}


def shapes(model, chained='none', **options):
  run = program(model, chained, **options)
  size = options.get('size', 8)
  return jax.eval_shape(run.initialize, np.uint32(0), {}, batch(size))


# Kernels of the paper's table 6 (biases and normalization aside) come to 0.27,
# 0.46, 0.66, 0.85 and 1.7 million.
def expected_size(depth, chained, shortcut):
  n = depth // 6
  channels = [16] * (2 * n + 1) + [32] * 2 * n + [64] * 2 * n
  inputs = [3, *channels[:-1]]
  kernels = sum(9 * a * b for a, b in zip(inputs, channels, strict=True))
  if shortcut == 'projection':
    kernels += 16 * 32 + 32 * 64
    channels += [32, 64]
  of_a_channel = {'none': 1, 'batch_norm': 2}[chained]
  return kernels + of_a_channel * sum(channels) + 64 * 10 + 10


@pytest.mark.parametrize('shortcut', ['pad', 'projection'])
@pytest.mark.parametrize('chained', ['none', 'batch_norm'])
def test_resnet_20_has_the_size_of_the_paper(chained, shortcut):
  """Fault: a bias kept before batch norm."""
  state = shapes('resnet', chained, depth=20, width=16, shortcut=shortcut)
  found = trees.num_parameters(state.params)
  assert found == expected_size(20, chained, shortcut)
  if (chained, shortcut) == ('batch_norm', 'pad'):
    assert found == 269_722  # 0.27 million in table 6


@pytest.mark.parametrize('depth, size', [(56, 0.85e6), (110, 1.7e6)])
def test_deeper_resnets_have_the_size_of_the_paper(depth, size):
  state = shapes('resnet', 'batch_norm', depth=depth, width=16)
  found = trees.num_parameters(state.params)
  assert found == expected_size(depth, 'batch_norm', 'pad')
  assert found == pytest.approx(size, rel=0.02)


class Double(nn.Module):
  """Shows where a site stands."""

  @nn.compact
  def __call__(self, x, use_running_average=None, *, mask=None):
    return 2 * x


def apply(model, x, **fields):
  layers = Layers(norm=Double)
  options = models.defaults(model) | SMALL[model] | fields
  net = models.build(model, options, layers, 10)
  init = functools.partial(net.init, train=False)
  shapes = jax.eval_shape(init, jax.random.key(0), x)['params']
  random = np.random.default_rng(1)
  params = jax.tree.map(
    lambda v: (random.normal(size=v.shape) / v.size**0.5).astype(v.dtype),
    shapes,
  )
  run = jax.jit(functools.partial(net.apply, train=False))
  return run({'params': params}, x), params


def convolve(params, i, x, stride=1):
  """A sum over kernel positions, in NumPy."""
  kernel, bias = (
    np.asarray(params[f'conv_{i}'][k]) for k in ('kernel', 'bias')
  )
  reach = kernel.shape[0] // 2
  x = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
  size = x.shape[1] - 2 * reach
  return bias + sum(
    x[:, a : a + size : stride, b : b + size : stride] @ kernel[a, b]
    for a in range(kernel.shape[0])
    for b in range(kernel.shape[1])
  )


def relu(x):
  return np.maximum(x, 0)


def reference_resnet(params, x, block, shortcut):
  """ResNet-8, its sites doubling what they get."""
  conv, i = functools.partial(convolve, params), 1
  x = conv(0, x)
  x = relu(2 * x) if block == 'post_activation' else x
  for stage in range(3):
    stride = 2 if stage else 1
    y = relu(2 * x) if block == 'pre_activation' else x
    x = y  # each block is the first of its stage
    if stage and shortcut == 'projection':
      x = conv(i, y, stride) * (2 if block == 'post_activation' else 1)
      i += 1
    elif stage:
      x = y[:, ::2, ::2]
      x = np.concatenate([x, np.zeros_like(x)], -1)
    y = conv(i + 1, relu(2 * conv(i, y, stride)))
    i += 2
    x = relu(x + 2 * y) if block == 'post_activation' else x + y
  x = relu(2 * x) if block == 'pre_activation' else x
  return x.mean((1, 2)) @ params['head']['kernel'] + params['head']['bias']


@pytest.mark.parametrize('shortcut', ['pad', 'projection'])
@pytest.mark.parametrize('block', BLOCKS)
def test_resnet_computes_what_the_papers_draw(block, shortcut):
  """Fault: a stride on the second convolution; the last site left out."""
  x = batch(count=2)['image']
  found, params = apply('resnet', x, block=block, shortcut=shortcut)
  wanted = reference_resnet(params, x, block, shortcut)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('site', ['pre_activation', 'post_activation', 'input'])
@pytest.mark.parametrize('head', ['average', 'flatten'])
def test_convnet_computes_what_it_says(site, head):
  x = batch(count=2)['image']
  found, params = apply(
    'convnet', x, site=site, head=head, convs_per_stage=1, pooling='average'
  )
  for i in range(2):
    x = 2 * x if site == 'input' else x
    x = convolve(params, i, x)
    x = relu(2 * x) if site == 'pre_activation' else relu(x)
    x = 2 * x if site == 'post_activation' else x
    if head == 'flatten' or i == 0:
      half = x.shape[1] // 2
      x = x.reshape(2, half, 2, half, 2, -1).mean((2, 4))
  x = x.mean((1, 2)) if head == 'average' else x.reshape(2, -1)
  wanted = x @ params['head']['kernel'] + params['head']['bias']
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['max', 'average'])
def test_pooling_is_that_of_flax(name):
  """Fault: an odd size rounded up."""
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6, 3)), 'float32')
  theirs = {'max': nn.max_pool, 'average': nn.avg_pool}[name]

  def results(function):
    y, vjp = jax.vjp(function, x)
    return y, *vjp(jnp.cos(y))

  found = results(functools.partial(pool, name))
  wanted = results(lambda x: theirs(x, (2, 2), (2, 2)))
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_corners_that_tie_share_the_gradient():
  """Fault: each gets all of it, and a flat image four times its due."""
  x = jnp.array([[2.0, 1, 0], [2, 0, 0], [9, 9, 9]]).reshape(1, 3, 3, 1)
  gradient = jax.grad(lambda x: 6 * pool('max', x).sum())(x)
  np.testing.assert_allclose(
    gradient[0, :, :, 0], [[3, 0, 0], [3, 0, 0], [0, 0, 0]]
  )


@pytest.mark.parametrize('model', SMALL)
@pytest.mark.parametrize('chained', strategies.names())
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_every_strategy_steps_with_no_edit(model, chained, dtype):
  """Contract 1, on images. Fault: a norm that ignores `dtype`."""
  run = program(model, chained, dtype=dtype)
  before = jax.eval_shape(run.initialize, np.uint32(0), {}, batch())
  after, _ = jax.eval_shape(run.train_step, before, batch())
  assert jax.tree.structure(after) == jax.tree.structure(before)
  assert jax.tree.leaves(after) == jax.tree.leaves(before)
  floats = {x.dtype for x in jax.tree.leaves((after.params, after.batch_stats))}
  assert floats - {np.dtype('int32')} == {np.dtype('float32')}
  plain = [dataclasses.astuple(s) for s in program(model).sites]
  assert [dataclasses.astuple(s) for s in run.sites] == plain
  seen = jax.eval_shape(run.forward, before, batch())
  assert {v.input.dtype for v in seen.sites.values()} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
  'model, fields', [('convnet', {}), ('resnet', {'shortcut': 'projection'})]
)
def test_renormalize_holds_through_joins(model, fields):
  """Fault: the edit of one site not seen by the sites above it."""
  run = program(model, 'renormalize', **fields)

  @jax.jit
  def moments(batch):
    state = run.initialize(np.uint32(0), {}, batch)  # the edit of a step, too
    sites = run.forward(state, batch).sites
    return [values.moments('input') for values in sites.values()]

  for found in moments(batch()):
    np.testing.assert_allclose(found.mean, 0, atol=1e-4)
    np.testing.assert_allclose(found.var, 1, atol=1e-3)


@pytest.mark.parametrize('strategy', ['renormalize', 'lsuv'])
def test_a_strategy_that_cannot_act_says_so_in_one_line(strategy):
  run = program('resnet', strategy, block='pre_activation')
  with pytest.raises(UserError, match='no linear layer feeds site_2') as error:
    jax.eval_shape(run.initialize, np.uint32(0), {}, batch())
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'model, fields, shape, message',
  [
    ('resnet', {'depth': 21}, (8, 8, 3), 'model.depth: 21; allowed are 8, 14'),
    ('resnet', {'depth': 2}, (8, 8, 3), 'model.depth: 2'),
    ('resnet', {'block': 'v2'}, (8, 8, 3), 'model.block: .*pre_activation'),
    ('resnet', {'shortcut': 'A'}, (8, 8, 3), 'model.shortcut: .*projection'),
    ('resnet', {}, (40,), 'resnet takes images .* shape .40,.'),
    ('convnet', {}, (40,), 'convnet takes images'),
    ('convnet', {'head': 'max'}, (8, 8, 3), 'model.head: .*average, flatten'),
    ('convnet', {'site': 'in'}, (8, 8, 3), 'model.site: '),
    ('convnet', {'pooling': 'l2'}, (8, 8, 3), 'model.pooling: .*max, average'),
    (
      'convnet',
      {'features': (4,) * 4},
      (8, 9, 3),
      'model.features: 4 .*most 3',
    ),
  ],
)
def test_what_cannot_be_built_is_one_line(model, fields, shape, message):
  options = models.defaults(model) | SMALL[model] | fields
  net = models.build(model, options, Layers(), 10)
  with pytest.raises(UserError, match=message) as error:
    jax.eval_shape(
      functools.partial(net.init, train=False),
      jax.random.key(0),
      jnp.zeros((2, *shape)),
    )
  assert '\n' not in str(error.value)


def test_as_many_stages_as_the_images_bear():
  """Fault: the pooling that `average` leaves out counted as well."""
  shapes('convnet', head='average', features=(4,) * 4)
  with pytest.raises(UserError, match='halve images of 8 x 8 4 times'):
    shapes('convnet', head='average', features=(4,) * 5)


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='a trap of the CPU')
@pytest.mark.parametrize('model', SMALL)
def test_a_chunk_of_steps_stays_on_the_fast_path(model):
  """Fault: `Layers.conv` set to `nn.Conv`."""
  run, data = program(model, 'batch_norm', size=12), batch(12)
  state = jax.eval_shape(run.initialize, np.uint32(0), {}, data)

  def chunk(state):
    return jax.lax.scan(lambda s, _: run.train_step(s, data), state, None, 2)

  text = jax.jit(chunk).lower(state).compile().as_text()
  forms = re.findall(r' convolution\(.*dim_labels=(\S+?)[,\s]', text)
  assert len(forms) == 3 * len(run.sites) - 1  # none for the images' gradient
  assert set(forms) == {'b01f_01io->b01f'}
