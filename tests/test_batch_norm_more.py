"""What BatchNorm has beyond Flax's, and transformations of modules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import bn_jax
from bn_jax.layers.site import Site

KEY = jax.random.key(0)


def draw(shape, dtype=jnp.float32, seed=0):
  return (jax.random.normal(jax.random.key(seed), shape) * 2 + 1).astype(dtype)


def same(found, wanted, **tolerance):
  """Same structure, shapes, dtypes, and values up to the tolerance."""
  assert jax.tree.structure(found) == jax.tree.structure(wanted)

  def check(a, b):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(
      *(np.asarray(c.astype(jnp.float32)) for c in (a, b)), **tolerance
    )

  jax.tree.map(check, found, wanted)


def stats_after(module, batches):
  variables = module.init(KEY, batches[0], False)
  for x in batches:
    _, new = module.apply(variables, x, False, mutable=['batch_stats'])
    variables = {**variables, **new}
  return variables['batch_stats']


def test_averages_of_the_running_statistics():
  batches = [draw((8, 3), seed=i) for i in range(4)]
  means = np.stack([x.mean(0) for x in batches])
  variances = np.stack([x.var(0) for x in batches])
  weights = 0.9 ** np.arange(3, -1, -1)
  for average, w in [('debiased', weights), ('cumulative', np.ones(4))]:
    w = (w / w.sum())[:, None]
    stats = stats_after(
      bn_jax.BatchNorm(momentum=0.9, average=average), batches
    )
    assert set(stats) == {'mean', 'var', 'count'}
    np.testing.assert_allclose(stats['mean'], (w * means).sum(0), rtol=1e-4)
    np.testing.assert_allclose(stats['var'], (w * variances).sum(0), rtol=1e-4)
    np.testing.assert_array_equal(stats['count'], [4, 4, 4])


def test_unbiased_running_variance():
  batches = [draw((8, 3), seed=i) for i in range(3)]
  a, b = (
    stats_after(bn_jax.BatchNorm(momentum=0.0, unbiased=u), batches)
    for u in (True, False)
  )
  np.testing.assert_allclose(a['var'], b['var'] * 8 / 7, rtol=1e-6)
  np.testing.assert_array_equal(a['mean'], b['mean'])


def test_stop_gradient_reaches_the_transform():
  x, d = draw((8, 3)), jnp.arange(3.0)

  def slope(stop):
    module = bn_jax.BatchNorm(use_running_average=False, stop_gradient=stop)
    f = module.init(KEY, x)
    return jax.grad(
      lambda x: jnp.sum(module.apply(f, x, mutable=['batch_stats'])[0] * d)
    )(x)

  assert np.abs(slope(())).max() < 1e-5  # a constant d moves the mean alone
  assert np.abs(slope(('mean',))).max() > 0.1


def test_normalized_is_sown_before_scale_and_bias_at_a_site():
  x = draw((8, 3))
  norm = functools.partial(
    bn_jax.BatchNorm,
    scale_init=nn.initializers.constant(3.0),
    bias_init=nn.initializers.constant(1.0),
  )
  module = Site(norm)
  variables = module.init(KEY, x, train=False)
  kept = {k: variables[k] for k in ('params', 'batch_stats')}
  for train in (False, True):
    y, new = module.apply(
      kept, x, train=train, mutable=['batch_stats', 'intermediates']
    )
    (normalized,) = new['intermediates']['norm']['normalized']
    np.testing.assert_allclose(normalized * 3 + 1, y, rtol=1e-5, atol=1e-6)
  quiet = module.apply(kept, x, train=True, mutable=['batch_stats'])[1]
  assert set(quiet) == {'batch_stats'}


@pytest.mark.parametrize('mutable', [True, ['batch_stats', 'intermediates']])
def test_elsewhere_nothing_is_sown(mutable):
  """Fault: a tree that grows with each step that makes all of it mutable."""
  x = draw((8, 3))
  ours, theirs = (
    module(use_running_average=False)
    for module in (bn_jax.BatchNorm, nn.BatchNorm)
  )
  variables = wanted = theirs.init(KEY, x)
  for _ in range(3):
    variables = {**variables, **ours.apply(variables, x, mutable=mutable)[1]}
    wanted = {**wanted, **theirs.apply(wanted, x, mutable=mutable)[1]}
    assert jax.tree.structure(variables) == jax.tree.structure(wanted)


def test_traced_momentum_and_epsilon_are_a_population():
  x = draw((8, 3))

  def member(momentum, epsilon):
    module = bn_jax.BatchNorm(momentum=momentum, epsilon=epsilon)
    return module.apply(
      module.init(KEY, x, False), x, False, mutable=['batch_stats']
    )

  numbers = jnp.array([0.5, 0.9]), jnp.array([1e-5, 1.0])
  found = jax.jit(jax.vmap(member))(*numbers)
  singles = [member(float(m), float(e)) for m, e in zip(*numbers, strict=True)]
  wanted = jax.tree.map(lambda *a: jnp.stack(a), *singles)
  same(found, wanted, rtol=1e-6)


# Transformations of modules.


class Stack(nn.Module):
  """Three layers: by a loop, by scan, or each rematerialized."""

  how: str

  @nn.compact
  def __call__(self, x):
    norm = functools.partial(bn_jax.BatchNorm, use_running_average=False)
    if self.how == 'scan':

      def body(layer, h, _):
        return layer(jnp.sin(h)), None

      scan = nn.scan(
        body,
        variable_axes={'params': 0, 'batch_stats': 0},
        split_rngs={'params': True},
        length=3,
      )
      return scan(norm(), x, None)[0]
    for _ in range(3):
      layer = nn.remat(bn_jax.BatchNorm) if self.how == 'remat' else None
      layer = norm() if layer is None else layer(use_running_average=False)
      x = layer(jnp.sin(x))
    return x


@pytest.mark.parametrize('how', ['scan', 'remat'])
def test_scan_and_remat_over_layers(how):
  x = draw((8, 3))

  def run(how):
    module = Stack(how)
    variables = module.init(KEY, x)

    def loss(x):
      y, new = module.apply(variables, x, mutable=['batch_stats'])
      return jnp.sum(y**3), new

    g, new = jax.jit(jax.grad(loss, has_aux=True))(x)
    leaves = [jnp.reshape(a, (-1, 3)) for a in jax.tree.leaves(new)]
    stats = sorted(np.concatenate(leaves).tolist())
    return g, np.array(stats)

  found, wanted = run(how), run('loop')
  np.testing.assert_allclose(found[0], wanted[0], atol=1e-5)
  np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)


def test_vmap_over_members():
  x = draw((4, 8, 3))
  module = nn.vmap(
    bn_jax.BatchNorm,
    variable_axes={'params': 0, 'batch_stats': 0},
    split_rngs={'params': True},
  )(use_running_average=False)
  variables = module.init(KEY, x)
  y, new = module.apply(variables, x, mutable=['batch_stats'])
  single = bn_jax.BatchNorm(use_running_average=False)
  for i in range(4):
    part = jax.tree.map(lambda a, i=i: a[i], variables)
    wanted = single.apply(part, x[i], mutable=['batch_stats'])
    got = jax.tree.map(lambda a, i=i: a[i], (y, new))
    same(got, wanted, rtol=1e-5, atol=1e-6)
