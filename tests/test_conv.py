"""The convolution is Flax's, in a form that stays fast inside a loop."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bn_jax.layers.conv import Conv

FAST = 'b01f_01io->b01f'
# What models use, and what one may meet: odd sizes, one-sided padding.
CASES = [
  {'kernel_size': (3, 3)},
  {'kernel_size': (3, 3), 'strides': 2, 'padding': 1},
  {'kernel_size': (3, 3), 'strides': (2, 2), 'padding': 'SAME'},
  {'kernel_size': (3, 3), 'strides': 2, 'padding': 'VALID'},
  {'kernel_size': (1, 1)},
  {'kernel_size': (1, 1), 'strides': 2, 'padding': 0},
  {'kernel_size': (5, 2), 'strides': (1, 2), 'padding': ((2, 0), (0, 3))},
  {'kernel_size': (4, 4), 'padding': 'VALID', 'use_bias': False},
]
# What flax does its own way.
OTHERS = [
  {'kernel_size': (3, 3), 'kernel_dilation': 2},
  {'kernel_size': (3, 3), 'input_dilation': 2, 'padding': 1},
  {'kernel_size': (3, 3), 'feature_group_count': 2},
  {'kernel_size': (3, 3), 'padding': 'CIRCULAR'},
  {'kernel_size': (3,)},
  {'kernel_size': (2, 2, 2)},
]


def case_name(options):
  return '-'.join(str(v).replace(' ', '') for v in options.values())


each_case = pytest.mark.parametrize('options', CASES, ids=case_name)


def noise(shape, dtype='float32', seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def pair(options, dtype='float32', size=(9, 8, 7)):
  """Our module and flax's, with an input and parameters that fit both."""
  x = noise((3, *size[: len(options['kernel_size'])], 4), dtype)
  ours, theirs = (m(6, **options, param_dtype=dtype) for m in (Conv, nn.Conv))
  shapes = jax.eval_shape(ours.init, jax.random.key(0), x)
  assert shapes == jax.eval_shape(theirs.init, jax.random.key(0), x)
  variables = jax.tree.map(lambda v: noise(v.shape, v.dtype, 1), shapes)
  return ours, theirs, x, variables


def loss(module, variables, x):
  return jnp.sum(jnp.sin(module.apply(variables, x)))


def assert_close(found, wanted, tolerance):
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    assert a.dtype == b.dtype
    scale = np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def results(module, variables, x):
  """What the module computes, and the gradient to parameters and images."""

  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def run(variables, x):
    y = module.apply(variables, x)
    return jnp.sum(jnp.sin(y)), y

  (_, y), gradient = jax.jit(run)(variables, x)
  return y, gradient


@pytest.mark.parametrize('options', CASES + OTHERS, ids=case_name)
def test_shapes_results_and_gradient_are_those_of_flax(options):
  """Fault: the kernel not swapped back, or the stride dropped."""
  ours, theirs, x, variables = pair(options)
  found, wanted = (results(m, variables, x) for m in (ours, theirs))
  assert_close(found, wanted, 1e-6)


def test_initial_parameters_are_those_of_flax():
  ours, theirs, x, _ = pair(CASES[0])
  key = jax.random.key(1)
  assert_close(ours.init(key, x), theirs.init(key, x), 0)


@pytest.mark.parametrize('options', CASES[1:7:5], ids=case_name)
def test_in_float64_too(options):
  with jax.enable_x64(True):
    ours, theirs, x, variables = pair(options, 'float64')
    found, wanted = (results(m, variables, x) for m in (ours, theirs))
    assert found[0].dtype == 'float64'
    assert_close(found, wanted, 1e-14)


def _hessian_vector(f, v, x):
  return jax.jvp(jax.grad(f, (0, 1)), (v, x), (v, x))


def _reverse_of_reverse(f, v, x):
  def size(v):
    return sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(f)(v, x)))

  return jax.grad(size)(v)


def _members(f, v, x):
  stack = functools.partial(jax.tree.map, lambda a: jnp.stack([a, -2 * a]))
  return jax.vmap(jax.grad(f, (0, 1)))(stack(v), stack(x))


def _shared_images(f, v, x):
  stacked = jax.tree.map(lambda a: jnp.stack([a, -2 * a]), v)
  return jax.vmap(jax.grad(f), (0, None))(stacked, x)


MODES = {
  'forward': lambda f, v, x: jax.jvp(f, (v, x), (v, x)),
  'forward over reverse': _hessian_vector,
  'reverse over reverse': _reverse_of_reverse,
  'vmap': _members,
  'vmap of one': _shared_images,
  'remat': lambda f, v, x: jax.grad(jax.checkpoint(f))(v, x),
  'jacfwd': lambda f, v, x: jax.jacfwd(f, 1)(v, x),
}


@pytest.mark.parametrize('mode', MODES)
def test_every_mode_works_as_with_flax(mode):
  ours, theirs, x, variables = pair(CASES[1])
  found, wanted = (
    jax.jit(functools.partial(MODES[mode], functools.partial(loss, m)))(
      variables, x
    )
    for m in (ours, theirs)
  )
  assert_close(found, wanted, 2e-5)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
  options = CASES[0] | {'dtype': jnp.bfloat16}
  ours, theirs, x, variables = pair(options)
  assert {v.dtype for v in jax.tree.leaves(variables)} == {np.dtype('float32')}
  found, wanted = (results(m, variables, x) for m in (ours, theirs))
  assert found[0].dtype == jnp.bfloat16
  assert_close(found, wanted, 2**-8)  # bfloat16 keeps 8 bits


def in_a_loop(module, variables, x):
  """Three steps of gradient descent on kernel and images."""

  def step(carry, _):
    grads = jax.grad(functools.partial(loss, module), (0, 1))(*carry)
    return jax.tree.map(lambda a, g: a - 0.1 * g, carry, grads), None

  return jax.lax.scan(step, (variables, x), None, length=3)[0]


def lowered(module, variables, x, platform):
  traced = jax.jit(functools.partial(in_a_loop, module)).trace(variables, x)
  return traced.lower(lowering_platforms=(platform,))


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='a trap of the CPU')
@each_case
def test_in_a_loop_every_convolution_is_of_the_fast_form(options):
  """Fault: `nn.Conv` in place of ours; or either half of the rule undone."""
  ours, _, x, variables = pair(options)
  text = lowered(ours, variables, x, 'cpu').compile().as_text()
  forms = re.findall(r' convolution\(.*dim_labels=(\S+?)[,\s]', text)
  product = options['kernel_size'] == (1, 1)
  assert forms == ([] if product else [FAST] * 3)


# (options, height and width): the image or the output is under the kernel.
SMALL = [
  ({'kernel_size': (3, 3)}, (2, 2)),
  ({'kernel_size': (3, 3), 'padding': 1}, (1, 1)),
  ({'kernel_size': (3, 3), 'strides': 2, 'padding': 1}, (4, 3)),
  ({'kernel_size': (4, 3), 'strides': (1, 2), 'padding': 'VALID'}, (5, 7)),
]


@pytest.mark.parametrize('options, size', SMALL)
def test_small_images_are_no_trap(options, size):
  """Fault: `is_product` that looks at the image alone, or not at all."""
  ours, theirs, x, variables = pair(options, size=size)
  found, wanted = (results(m, variables, x) for m in (ours, theirs))
  assert_close(found, wanted, 1e-5)
  for name in ('forward', 'vmap'):
    f = functools.partial(MODES[name], functools.partial(loss, ours))
    g = functools.partial(MODES[name], functools.partial(loss, theirs))
    assert_close(jax.jit(f)(variables, x), jax.jit(g)(variables, x), 1e-4)
  if jax.default_backend() == 'cpu':
    text = lowered(ours, variables, x, 'cpu').compile().as_text()
    assert ' convolution(' not in text
  assert lowered(ours, variables, x, 'cuda').as_text().count('dim_numbers') == 3


def test_elsewhere_it_is_the_plain_convolution():
  ours, theirs, x, variables = pair(CASES[0])
  found, wanted = (
    sorted(re.findall(r'dim_numbers = \S+', text))
    for text in (
      lowered(m, variables, x, 'cuda').as_text() for m in (ours, theirs)
    )
  )
  assert found == wanted
  assert len(found) == 3
