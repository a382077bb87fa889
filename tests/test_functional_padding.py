"""Padding of NaN or infinity under a mask touches nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bn_jax
from bn_jax import functional
from bn_jax.layers.decorrelated_batch_norm import DecorrelatedBatchNorm
from bn_jax.layers.ghost_batch_norm import GhostBatchNorm

PADDING = [np.nan, np.inf, -np.inf]
ROWS = np.arange(16) % 5 != 3  # what counts
MASKS = {
  'rows': ROWS[:, None],
  'values': np.random.default_rng(1).random((16, 6)) < 0.7,
}


def draw(shape=(16, 6), dtype='float32'):
  """x, scale and bias."""
  rng = np.random.default_rng(0)
  x, scale, bias = (rng.normal(1, 2, s) for s in (shape, shape[-1], shape[-1]))
  return jnp.asarray(x, dtype), jnp.asarray(scale, 'f4'), jnp.asarray(bias)


def padded(x, mask, by):
  return jnp.where(mask, x, jnp.asarray(by, x.dtype))


def loss(mask, **options):
  """Of what counts, and of the statistics."""

  def f(x, scale, bias):
    y, found = functional.batch_norm(x, scale, bias, mask=mask, **options)
    y = jnp.where(mask, y.real.astype('f4'), 0)
    return jnp.sum(y**3) + jnp.sum(jnp.sin(found.mean.real) * found.var)

  return f


def equal(found, wanted, mask=None, of=lambda a: a):
  """The same, and finite: both have been computed alike."""
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    assert np.isfinite(np.asarray(a, 'c8')).all()
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('bad', PADDING)
@pytest.mark.parametrize('mask', MASKS.values(), ids=MASKS)
@pytest.mark.parametrize('compiled', [False, True])
def test_padding_touches_no_other_output_or_gradient(bad, mask, compiled):
  x, scale, bias = draw()

  def run(x):
    y, found = functional.batch_norm(x, scale, bias, mask=mask)
    grad = jax.grad(loss(mask), (0, 1, 2))(x, scale, bias)
    return y, found, grad

  run = jax.jit(run) if compiled else run
  dirty = run(padded(x, mask, bad))
  equal(dirty, run(padded(x, mask, 0)))
  np.testing.assert_array_equal(
    np.where(mask, 0, dirty[2][0]), np.zeros(x.shape)
  )
  clean = run(x)  # nor does it matter what finite number stands there
  np.testing.assert_allclose(
    np.where(mask, dirty[0], 0), np.where(mask, clean[0], 0), atol=1e-6
  )
  for a, b in zip(dirty[2], clean[2], strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'complex64'])
def test_padding_in_other_dtypes(dtype):
  x, scale, bias = draw(dtype=dtype)
  grad = jax.jit(jax.grad(loss(MASKS['values']), (0, 1, 2)))
  found = grad(padded(x, MASKS['values'], np.nan), scale, bias)
  equal(found, grad(padded(x, MASKS['values'], 0), scale, bias))


def test_padding_of_a_large_array():
  x, scale, bias = draw((1100, 1000))
  mask = np.arange(1100)[:, None] < 900
  grad = jax.jit(jax.grad(loss(mask), (0, 1, 2)))
  found = grad(padded(x, mask, np.nan), scale, bias)
  equal(found, grad(padded(x, mask, 0), scale, bias))


def jvp(f, *a):
  """Tangents are finite, those of padding too."""
  return jax.jvp(f, a, tuple(jnp.cos(jnp.ones_like(b)) for b in a))


def hvp(f, *a):
  by = tuple(jnp.ones_like(b) for b in a)
  return jax.jvp(jax.grad(f, (0, 1, 2)), a, by)[1]


@pytest.mark.parametrize(
  'of',
  [jvp, hvp, lambda f, *a: jax.hessian(f, (0, 1))(*a)],
  ids=['jvp', 'hvp', 'hessian'],
)
@pytest.mark.parametrize('bad', PADDING)
def test_padding_under_both_modes_of_differentiation(of, bad):
  mask = MASKS['values'][:7, :3]
  x, scale, bias = draw((7, 3))
  run = jax.jit(functools.partial(of, loss(mask)))
  found = run(padded(x, mask, bad), scale, bias)
  equal(found, run(padded(x, mask, 0), scale, bias))


def test_padding_over_shards():
  """One shard holds nothing but padding."""
  x, scale, bias = draw((4, 5, 3))
  mask = np.arange(5) < np.array([[3], [0], [1], [5]])

  def total(x, scale, bias):
    def shard(x, on):
      return loss(on[:, None], axis_name='data')(x, scale, bias)

    return jnp.sum(jax.vmap(shard, axis_name='data')(x, mask))

  run = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
  found = run(padded(x, mask[..., None], np.nan), scale, bias)
  equal(found, run(padded(x, mask[..., None], 0), scale, bias))


@pytest.mark.parametrize('stop', [('mean',), ('var',), ('mean', 'var')])
def test_padding_with_constant_statistics(stop):
  x, scale, bias = draw()
  mask = MASKS['rows']
  grad = jax.jit(jax.grad(loss(mask, stop_gradient=stop), (0, 1, 2)))
  found = grad(padded(x, mask, np.nan), scale, bias)
  equal(found, grad(padded(x, mask, 0), scale, bias))


LAYERS = {
  'BatchNorm': bn_jax.BatchNorm(),
  'Ghost': GhostBatchNorm(4),
  'Decorrelated': DecorrelatedBatchNorm(3),
}


@pytest.mark.parametrize('running', [False, True])
@pytest.mark.parametrize('layer', LAYERS.values(), ids=LAYERS)
def test_padding_in_the_layers(layer, running):
  """Fault: a layer that hands padding on by its running statistics."""
  x = draw()[0]
  mask = MASKS['rows']
  variables = layer.init(jax.random.key(0), x, False)

  @jax.jit
  def run(x):
    def f(params, x):
      y, new = layer.apply(
        {**variables, 'params': params},
        x,
        running,
        mask=mask,
        mutable=['batch_stats'],
      )
      return jnp.sum(jnp.where(mask, y, 0) ** 3), (y, new)

    return jax.grad(f, (0, 1), has_aux=True)(variables['params'], x)

  equal(run(padded(x, mask, np.nan)), run(padded(x, mask, 0)))


@pytest.mark.parametrize('bad', PADDING)
@pytest.mark.parametrize('epsilon', [1e-5, 0.0])
@pytest.mark.parametrize('compiled', [False, True])
def test_batch_of_padding_alone_gives_its_bias(bad, epsilon, compiled):
  _, scale, bias = draw()
  x = jnp.full((16, 6), bad, jnp.float32)

  def run(*args):
    def f(*a):
      return functional.batch_norm(
        *a, mask=jnp.zeros((16, 1), bool), epsilon=epsilon
      )

    y, pull, found = jax.vjp(f, *args, has_aux=True)
    return y, found, pull(jnp.ones_like(y))

  y, found, gradients = (jax.jit(run) if compiled else run)(x, scale, bias)
  np.testing.assert_array_equal(y, jnp.broadcast_to(bias, y.shape))
  for a in (*found, *gradients):
    np.testing.assert_array_equal(a, jnp.zeros_like(a))
