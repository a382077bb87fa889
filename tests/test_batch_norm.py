"""BatchNorm against flax.linen.BatchNorm, and where it is meant to differ."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors, serialization
from flax import linen as nn

import bn_jax
from experiments.conformance_suite import reference

KEY = jax.random.key(0)
FIELDS = [
  {},
  {'momentum': 0.5, 'epsilon': 0.1},
  {'use_bias': False},
  {'use_scale': False},
  {'use_bias': False, 'use_scale': False},
  {'axis': 1},
  {'axis': (1, -1)},
  {'dtype': jnp.bfloat16},
  {'dtype': jnp.float32, 'param_dtype': jnp.bfloat16},
  {'use_fast_variance': True},
  {'force_float32_reductions': False},
  {
    'bias_init': nn.initializers.normal(1.0),
    'scale_init': nn.initializers.normal(1.0),
  },
]


def both(**fields):
  return nn.BatchNorm(**fields), bn_jax.BatchNorm(**fields)


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


def train(module, variables, x, steps=3, **options):
  """Outputs, gradients and variables over a few steps."""
  params = variables['params'] if 'params' in variables else {}
  rest = {k: v for k, v in variables.items() if k != 'params'}

  @jax.jit
  def step(params, rest, x):
    def loss(params, x):
      y, new = module.apply(
        {'params': params, **rest}, x, False, mutable=['batch_stats'], **options
      )
      d = jnp.cos(jnp.arange(y.size).reshape(y.shape))
      return jnp.sum((y * d.astype(y.dtype)).astype(jnp.float32)), (y, new)

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  seen = []
  for i in range(steps):
    gradients, (y, rest) = step(params, rest, x + i)
    seen.append((y, gradients, rest))
  return seen, {'params': params, **rest}


@pytest.mark.parametrize('fields', FIELDS, ids=lambda f: '-'.join(f))
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_drop_in(fields, dtype):
  x = draw((8, 4, 5), dtype)
  # Flax's fast variance is the less exact one: it would be what we measure.
  flax, ours = both(**{'use_fast_variance': False, **fields})
  variables = flax.init(KEY, x, use_running_average=False)
  same(ours.init(KEY, x, use_running_average=False), variables, rtol=0)
  narrow = jnp.bfloat16 in (dtype, fields.get('dtype'))
  tolerance = (
    dict(atol=6e-2, rtol=2e-2) if narrow else dict(atol=5e-6, rtol=5e-6)
  )
  found, after = train(ours, variables, x)
  wanted, flax_after = train(flax, variables, x)
  same(found, wanted, **tolerance)
  found, wanted = (
    m.apply(after, x, use_running_average=True) for m in (ours, flax)
  )
  same(found, wanted, **tolerance)
  same(after, flax_after, **tolerance)


def test_wide_and_complex_input():
  with jax.enable_x64(True):
    for dtype in (jnp.float64, jnp.complex64):
      x = draw((8, 5), dtype)
      flax, ours = both(use_fast_variance=False)
      variables = flax.init(KEY, x, use_running_average=False)
      same(ours.init(KEY, x, use_running_average=False), variables)
      a, b = (
        m.apply(variables, x, False, mutable=['batch_stats'])
        for m in (ours, flax)
      )
      jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5), a, b
      )
      assert jax.tree.map(jnp.dtype, a) == jax.tree.map(jnp.dtype, b)


@pytest.mark.parametrize('mask_shape', [(8, 4, 5), (8, 1, 1), (4, 5)])
def test_mask_as_flax_has_it(mask_shape):
  x = draw((8, 4, 5))
  mask = jax.random.bernoulli(KEY, 0.7, mask_shape)
  flax, ours = both(use_fast_variance=False)
  variables = flax.init(KEY, x, use_running_average=False)
  found, wanted = (train(m, variables, x, mask=mask)[0] for m in (ours, flax))
  same(found, wanted, rtol=2e-5, atol=2e-5)


def test_state_of_one_loads_into_the_other():
  class Net(nn.Module):
    norm: type

    @nn.compact
    def __call__(self, x, train):
      for width in (7, 3):
        x = nn.Dense(width)(x)
        # A class's name is part of its variables' path.
        x = self.norm(use_running_average=not train, name=f'norm_{width}')(x)
      return x

  x = draw((8, 5))
  ours, flax = Net(bn_jax.BatchNorm), Net(nn.BatchNorm)
  seen, state = train(ours, ours.init(KEY, x, True), x)
  stored = serialization.to_bytes(state)
  loaded = serialization.from_bytes(flax.init(KEY, x, True), stored)
  same(flax.apply(loaded, x, False), ours.apply(state, x, False), rtol=1e-5)
  assert seen


def test_class_keeps_flaxs_name_so_that_automatic_paths_agree():
  class Net(nn.Module):
    norm: type

    @nn.compact
    def __call__(self, x):
      return self.norm(use_running_average=True)(nn.Dense(3)(x))

  a, b = (
    Net(n).init(KEY, draw((2, 5))) for n in (bn_jax.BatchNorm, nn.BatchNorm)
  )
  same(a, b)


def test_arguments_are_checked_as_flax_checks_them():
  x = draw((4, 3))
  ours = bn_jax.BatchNorm()
  with pytest.raises(ValueError):  # neither the field nor the argument
    ours.init(KEY, x)
  with pytest.raises(ValueError):  # both
    bn_jax.BatchNorm(use_running_average=True).init(KEY, x, True)
  variables = ours.init(KEY, x, False)
  with pytest.raises(errors.ModifyScopeVariableError):
    ours.apply(variables, x, False)
  with pytest.raises(errors.ScopeParamShapeError):
    ours.apply(variables, draw((4, 2)), True)


def test_initializing_leaves_the_statistics_and_needs_no_named_axis():
  module = bn_jax.BatchNorm(axis_name='data', use_running_average=False)
  stats = module.init(KEY, draw((4, 3)))['batch_stats']
  same(stats, {'mean': jnp.zeros(3), 'var': jnp.ones(3)})


def test_named_axis_equals_the_whole_batch():
  x = draw((4, 6, 3))
  ours = bn_jax.BatchNorm(use_running_average=False, axis_name='data')
  whole = bn_jax.BatchNorm(use_running_average=False)
  variables = whole.init(KEY, x[0])
  f = jax.vmap(
    lambda x: ours.apply(variables, x, mutable=['batch_stats']),
    axis_name='data',
    out_axes=(0, None),
  )
  y, new = whole.apply(variables, x.reshape(24, 3), mutable=['batch_stats'])
  same(f(x), (y.reshape(x.shape), new), rtol=1e-5, atol=1e-6)


# Where Flax's answer is wrong.


@pytest.mark.parametrize('mean, std', [(1e3, 1), (1e4, 1), (1e6, 0.1)])
def test_large_mean(mean, std):
  rng = np.random.default_rng(0)
  x = rng.normal(mean, std, (64, 3)).astype(np.float32)
  module = bn_jax.BatchNorm(use_running_average=False)
  y, _ = module.apply(module.init(KEY, x), x, mutable=['batch_stats'])
  wanted = reference.batch_norm(x, np.ones(3), np.zeros(3), x).y
  assert np.abs(y - wanted).max() < 1e-6 * np.abs(wanted).max()


def test_shards_weigh_by_what_their_mask_counts():
  x = draw((2, 4, 3))
  mask = np.array([[1, 0, 0, 0], [1, 1, 1, 1]])[..., None]
  module = bn_jax.BatchNorm(use_running_average=False, axis_name='data')
  variables = module.init(KEY, x[0])
  _, new = jax.vmap(
    lambda x, m: module.apply(variables, x, mask=m, mutable=['batch_stats']),
    axis_name='data',
  )(x, mask)
  wanted = 0.01 * np.asarray(x)[np.broadcast_to(mask, x.shape) > 0]
  found = new['batch_stats']['mean']
  np.testing.assert_allclose(found[0], wanted.reshape(5, 3).mean(0), rtol=1e-5)
  np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize('average', ['ema', 'debiased', 'cumulative'])
def test_batch_masked_out_whole_leaves_no_trace(average):
  x = draw((4, 3))
  module = bn_jax.BatchNorm(average=average)
  variables = module.init(KEY, x, False)
  _, variables = train(module, variables, x)
  seen, after = train(module, variables, x, 1, mask=jnp.zeros((4, 1)))
  same(after, variables, rtol=0)
  y, gradients, _ = seen[0]
  assert np.isfinite(y).all()
  assert not any(np.abs(g).max() for g in jax.tree.leaves(gradients))


# What is new.


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


def test_normalized_is_sown_before_scale_and_bias():
  x = draw((8, 3))
  module = bn_jax.BatchNorm(
    scale_init=nn.initializers.constant(3.0),
    bias_init=nn.initializers.constant(1.0),
  )
  variables = module.init(KEY, x, False)
  assert set(variables) == {'params', 'batch_stats'}
  for running in (False, True):
    y, new = module.apply(
      variables, x, running, mutable=['batch_stats', 'intermediates']
    )
    (normalized,) = new['intermediates']['normalized']
    np.testing.assert_allclose(normalized * 3 + 1, y, rtol=1e-5, atol=1e-6)
  quiet = module.apply(variables, x, False, mutable=['batch_stats'])[1]
  assert set(quiet) == {'batch_stats'}


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
