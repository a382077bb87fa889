"""bn_jax.functional under JAX's transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from bn_jax import functional
from experiments.conformance_suite import reference


def plain(x, scale, bias, mask=None):
  """The definition, differentiated by JAX; mask is (n, 1)."""
  weight = jnp.ones_like(x) if mask is None else mask * jnp.ones_like(x)
  n = weight.sum(0)
  mean = (weight * x).sum(0) / n
  var = (weight * (x - mean) ** 2).sum(0) / n
  return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def ours(x, scale, bias, mask=None):
  return functional.batch_norm(x, scale, bias, mask=mask)[0]


def losses(mask):
  return [
    lambda *a, f=f: jnp.sum(jnp.sin(f(*a, mask=mask)) * jnp.cos(a[0]))
    for f in (ours, plain)
  ]


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield


def arguments(shape=(6, 3), seed=0):
  rng = np.random.default_rng(seed)
  return tuple(jnp.asarray(rng.normal(size=s)) for s in (shape, 3, 3))


MASKS = [None, np.array([1, 1, 0, 1, 1, 0])[:, None]]


@pytest.mark.parametrize('mask', MASKS)
def test_forward_mode(x64, mask):
  at, by = arguments(), arguments(seed=1)
  found, wanted = (
    jax.jit(functools.partial(jax.jvp, f))(at, by) for f in losses(mask)
  )
  np.testing.assert_allclose(found, wanted, rtol=1e-11)


@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize(
  'outer, inner',
  [
    (jax.jacfwd, jax.grad),
    (jax.jacrev, jax.grad),
    (jax.jacrev, jax.jacfwd),
    (jax.jacfwd, jax.jacfwd),
  ],
)
def test_second_derivatives_in_every_order(x64, mask, outer, inner):
  at = arguments()
  argnums = (0, 1, 2)
  found, wanted = (
    jax.jit(outer(inner(f, argnums), argnums))(*at) for f in losses(mask)
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-10), found, wanted
  )


def test_hessian_vector_product_and_third_derivative(x64):
  x, scale, bias = arguments()
  v = jnp.cos(x * 3)

  def hvp(f, x):
    return jax.jvp(jax.grad(f), (x,), (v,))[1]

  def third(f, x):
    return jax.grad(lambda x: jnp.sum(hvp(f, x) * v))(x)

  found, wanted = (lambda x, f=f: f(x, scale, bias) for f in losses(None))
  for of in (hvp, third):
    a, b = (jax.jit(functools.partial(of, f))(x) for f in (found, wanted))
    np.testing.assert_allclose(a, b, atol=1e-9)


def test_moments_and_normalize_have_both_modes(x64):
  x, scale, bias = arguments()

  def found(x, scale):
    m = functional.moments(x)
    y = functional.normalize(x, bias, scale**2, scale, bias)
    return jnp.sum(jnp.log(m.var) * m.mean) + jnp.sum(y**3)

  def wanted(x, scale):
    y = (x - bias) / jnp.sqrt(scale**2 + 1e-5) * scale + bias
    return jnp.sum(jnp.log(x.var(0)) * x.mean(0)) + jnp.sum(y**3)

  for of in (jax.grad, jax.hessian):
    a, b = (jax.jit(of(f, (0, 1)))(x, scale) for f in (found, wanted))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-8), a, b)


def test_vmap_remat_and_scan_change_nothing(x64):
  x, scale, bias = arguments((4, 6, 3))
  f = losses(None)[0]
  grad = jax.jit(jax.grad(f, (0, 1)))
  wanted = [grad(a, scale, bias) for a in x]
  wanted = jax.tree.map(lambda *a: jnp.stack(a), *wanted)

  def scanned(x, scale, bias):
    return jax.lax.scan(lambda c, a: (c, grad(a, scale, bias)), 0, x)[1]

  for found in (
    jax.vmap(grad, (0, None, None))(x, scale, bias),
    jax.vmap(jax.grad(jax.checkpoint(f), (0, 1)), (0, None, None))(
      x, scale, bias
    ),
    jax.jit(scanned)(x, scale, bias),
  ):
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-11), found, wanted
    )


def test_scan_over_layers_differentiates(x64):
  x, scale, bias = arguments()
  scales = jnp.stack([scale, 1 + scale**2, scale])

  def deep(x, scales):
    return jax.lax.scan(
      lambda h, s: (ours(jnp.sin(h), s, bias), None), x, scales
    )

  def looped(x, scales):
    for s in scales:
      x = plain(jnp.sin(x), s, bias)
    return x

  a = jax.jit(jax.grad(lambda *z: jnp.sum(deep(*z)[0] ** 2), (0, 1)))(x, scales)
  b = jax.jit(jax.grad(lambda *z: jnp.sum(looped(*z) ** 2), (0, 1)))(x, scales)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-9), a, b)


# Four shards that count 3, 0, 1 and 5 of their 5 examples.
UNEVEN = np.arange(5) < np.array([[3], [0], [1], [5]])


def global_reference(x, d, mask, ways):
  """Reference over groups of shards, shaped as the shards are."""
  out = []
  for group in np.split(np.arange(len(x)), ways):
    r = reference.batch_norm(
      x[group].reshape(-1, 3),
      np.ones(3),
      np.zeros(3),
      d[group].reshape(-1, 3),
      mask=None if mask is None else mask[group].reshape(-1, 1),
    )
    out.append(
      (r.y, r.dx, np.tile(r.mean, len(group)), np.tile(r.var, len(group)))
    )
  return [
    np.concatenate(a).reshape(len(x), -1, 3) for a in zip(*out, strict=True)
  ]


def pmap(f):
  return jax.pmap(f, axis_name='data', devices=jax.devices()[:4])


def vmap(f):
  return jax.vmap(f, axis_name='data')


def shard_map(f):
  mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))

  def one(*args):
    return jax.tree.map(lambda a: a[None], f(*(a[0] for a in args)))

  return jax.jit(
    jax.shard_map(one, mesh=mesh, in_specs=P('data'), out_specs=P('data'))
  )


@pytest.mark.parametrize('spread', [vmap, pmap, shard_map])
@pytest.mark.parametrize('mask', [None, UNEVEN])
@pytest.mark.parametrize('groups', [None, [[0, 1], [2, 3]]])
def test_shards_give_the_whole_batchs_answer(spread, mask, groups):
  if groups and spread is not pmap:
    pytest.skip('JAX has groups under pmap alone')
  rng = np.random.default_rng(0)
  x, d = rng.normal(2, 3, (4, 5, 3)), rng.normal(size=(4, 5, 3))
  ones = np.ones((4, 5))

  def f(x, d, on):
    def g(x):
      return functional.batch_norm(
        x,
        mask=None if mask is None else on[:, None],
        axis_name='data',
        axis_index_groups=groups,
      )

    y, pull, found = jax.vjp(g, x, has_aux=True)
    return y, pull(d)[0], found.mean, found.var

  x, d = x.astype('f4'), d.astype('f4')
  found = spread(f)(x, d, ones if mask is None else mask)
  wanted = global_reference(x, d, mask, 2 if groups else 1)
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(np.reshape(a, b.shape), b, atol=5e-6)


def test_shards_differentiate_twice_through_their_communication(x64):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)))

  def f(x, axis_name):
    y, found = functional.batch_norm(x, axis_name=axis_name)
    return jnp.sum(jnp.sin(y), 0) + found.var

  def spread(x):
    y = jax.vmap(lambda a: f(a, 'data'), axis_name='data')(x)
    return jnp.sum(y**2)

  def whole(x):
    y, found = functional.batch_norm(x.reshape(6, 3))
    y = jnp.sum(jnp.sin(y).reshape(2, 3, 3), 1) + found.var
    return jnp.sum(y**2)

  for of in (jax.grad, jax.hessian):
    found, wanted = (jax.jit(of(g))(x) for g in (spread, whole))
    np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize('shape', [(64, 4), (1024, 1024)])
def test_sharded_batch_under_jit_communicates_statistics_alone(shape):
  mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))
  x = np.random.default_rng(0).normal(3, 2, shape).astype('f4')
  spread = jax.device_put(x, NamedSharding(mesh, P('data')))

  @jax.jit
  def f(x, d):
    y, pull = jax.vjp(functional.batch_norm, x)
    return y, pull((d, jax.tree.map(jnp.zeros_like, y[1])))

  d = jnp.cos(spread)
  found, wanted = f(spread, d), f(x, np.asarray(d))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=2e-5), found, wanted
  )
  text = f.lower(spread, d).compile().as_text()
  assert 'all-reduce' in text
  for word in ('all-gather', 'all-to-all', 'collective-permute'):
    assert word not in text, word


def test_epsilon_may_be_traced_and_mapped(x64):
  x, scale, bias = arguments()
  epsilons = jnp.array([0.0, 1e-3, 1.0])

  def f(epsilon):
    return functional.batch_norm(x, scale, bias, epsilon=epsilon)[0]

  rows = jnp.stack([f(float(e)) for e in epsilons])
  np.testing.assert_allclose(jax.jit(jax.vmap(f))(epsilons), rows, rtol=1e-12)
  slope = jax.grad(lambda e: f(e)[0, 0])(0.1)
  step = (f(0.1 + 1e-6) - f(0.1 - 1e-6))[0, 0] / 2e-6
  np.testing.assert_allclose(slope, step, rtol=1e-6)
