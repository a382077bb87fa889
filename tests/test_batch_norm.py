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


def dtypes(tree):
  return jax.tree.map(lambda x: x.dtype, tree)


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
      assert dtypes(a) == dtypes(b)


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
