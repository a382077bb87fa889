"""bn_jax.functional against float64 NumPy, and what differentiation needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bn_jax import functional
from experiments.conformance_suite import reference

SHAPES = [
  ((60, 5), -1),
  ((7, 6, 5), 2),
  ((4, 5, 6, 3), -1),
  ((4, 5, 6, 3), 1),
  ((4, 5, 6, 3), (0, -1)),
  ((5,), -1),
]
DTYPES = {'float32': 2e-6, 'bfloat16': 2e-2, 'float16': 3e-3, 'float64': 1e-13}


def draw(shape, axis, dtype=np.float32, mean=3.0, std=2.0, seed=0):
  """x, scale, bias and a gradient d of the output, from one seed."""
  rng = np.random.default_rng(seed)
  axes = reference.axes_of(len(shape), axis)
  features = [n for a, n in enumerate(shape) if a not in axes]
  x = rng.normal(mean, std, shape)
  scale, bias = rng.normal(1, 0.3, features), rng.normal(0, 1, features)
  d = rng.normal(0, 1, shape)
  wide = np.promote_types(dtype, np.float32) if dtype != 'bfloat16' else 'f4'
  parts = [(x, dtype), (scale, wide), (bias, wide), (d, dtype)]
  return [jnp.asarray(a, t) for a, t in parts]


def close(found, wanted, tolerance):
  """Relative to the largest wanted value, at least 1."""
  found = reference.wide(
    np.asarray(found.astype(jnp.promote_types(found.dtype, 'f4')))
  )
  scale = max(1.0, np.abs(wanted).max(initial=0))
  assert found.shape == np.shape(wanted)
  error = np.abs(found - wanted).max(initial=0) / scale
  assert error <= tolerance, error


def run(x, scale, bias, d, **options):
  """Output, moments and gradients of functional.batch_norm."""

  def f(*args):
    return functional.batch_norm(*args, **options)

  y, pull, found = jax.vjp(f, x, scale, bias, has_aux=True)
  return y, found, pull(d.astype(y.dtype))


def check(args, tolerance, wide_tolerance=2e-6, mask=None, axis=-1, **options):
  y, found, (dx, dscale, dbias) = run(*args, mask=mask, axis=axis, **options)
  wanted = reference.batch_norm(
    *(np.asarray(a.astype(np.promote_types(a.dtype, 'f4'))) for a in args),
    mask=mask,
    axis=axis,
  )
  close(y, wanted.y, tolerance)
  close(dx, wanted.dx, tolerance)
  sums = tolerance * np.sqrt(max(1, args[0].size / max(1, found.mean.size)))
  close(dscale, wanted.dscale, sums)
  close(dbias, wanted.dbias, sums)
  for name in ('mean', 'var', 'count'):
    close(getattr(found, name), getattr(wanted, name), wide_tolerance)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('shape, axis', SHAPES)
def test_output_moments_and_gradients(shape, axis, dtype):
  with jax.enable_x64(dtype == 'float64'):
    args = draw(shape, axis, dtype)
    exact = 1e-13 if dtype == 'float64' else 2e-6
    check(args, DTYPES[dtype], exact, axis=axis)


@pytest.mark.parametrize(
  'mean, std', [(1e3, 1), (1e4, 1), (1e6, 0.1), (-1e7, 3), (0, 1e-6), (0, 1e16)]
)
@pytest.mark.parametrize('shape', [(60, 5), (257, 3), (600, 2001)])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('compiled', [False, True])
def test_no_digits_are_lost_to_a_large_mean(shape, mean, std, masked, compiled):
  args = draw(shape, -1, mean=mean, std=std)
  args[3] = args[3] / max(1, 1 / std)  # gradients grow with 1 / std
  mask = np.arange(shape[0])[:, None] % 5 > 0 if masked else None
  both = jax.jit(run) if compiled else run  # one program, or one a pass
  y, _, (dx, _, _) = both(*args, mask=mask)
  wanted = reference.batch_norm(*map(np.asarray, args), mask=mask)
  assert np.abs(y - wanted.y).max() <= 1e-6 * np.abs(wanted.y).max()
  assert np.abs(dx - wanted.dx).max() <= 2e-6 * np.abs(wanted.dx).max()


@pytest.mark.parametrize('mask_shape', [(8, 1, 1), (8, 6, 1), (6, 5), (5,), ()])
def test_masks_of_any_shape_that_broadcasts(mask_shape):
  args = draw((8, 6, 5), -1)
  mask = np.random.default_rng(1).random(mask_shape) < 0.6
  check(args, 2e-6, mask=jnp.asarray(mask))


def test_large_array_takes_the_same_statistics():
  args = draw((1100, 1000), -1)  # beyond the size at which the passes change
  check(args, 5e-6)


@pytest.mark.parametrize('stop', [('mean',), ('var',), ('mean', 'var'), 'mean'])
def test_stop_gradient_makes_a_statistic_a_constant(stop):
  x, scale, bias, d = draw((9, 4), -1)

  def plain(x):
    mean, var = x.mean(0), x.var(0)
    if 'mean' in stop:
      # The variance does not see the mean move: its derivative by it is 0.
      mean = jax.lax.stop_gradient(mean)
    if 'var' in stop:
      var = jax.lax.stop_gradient(var)
    return jnp.sum(((x - mean) / jnp.sqrt(var + 1e-5) * scale + bias) * d)

  def ours(x):
    return jnp.sum(
      functional.batch_norm(x, scale, bias, stop_gradient=stop)[0] * d
    )

  close(jax.grad(ours)(x), np.asarray(jax.grad(plain)(x)), 1e-5)
  whole = jax.grad(
    lambda x: jnp.sum(functional.batch_norm(x, scale, bias)[0] * d)
  )(x)
  assert np.abs(whole - jax.grad(ours)(x)).max() > 1e-2


def test_stop_gradient_names_a_statistic():
  with pytest.raises(ValueError, match=r"'std'.*mean.*var"):
    functional.batch_norm(jnp.ones((3, 2)), stop_gradient=('std',))


def test_statistics_are_differentiable_outputs():
  x = draw((9, 4), -1)[0]
  c = jnp.arange(1.0, 5)

  def ours(x):
    y, found = functional.batch_norm(x)
    return jnp.sum(c * found.mean**2 + c * jnp.log(found.var)) + (y**3).sum()

  def plain(x):
    mean, var = x.mean(0), x.var(0)
    y = (x - mean) / jnp.sqrt(var + 1e-5)
    return jnp.sum(c * mean**2 + c * jnp.log(var)) + (y**3).sum()

  close(jax.grad(ours)(x), np.asarray(jax.grad(plain)(x)), 1e-5)


def test_feature_without_a_value_gives_bias_and_no_gradient():
  args = draw((6, 4), -1)
  mask = jnp.ones((6, 4)).at[:, 2].set(0)
  y, found, gradients = run(*args, mask=mask)
  np.testing.assert_array_equal(y[:, 2], jnp.full(6, args[2][2]))
  np.testing.assert_array_equal(found.count, [6, 6, 0, 6])
  for g in gradients:
    np.testing.assert_array_equal(g[..., 2], jnp.zeros_like(g[..., 2]))
  check(args, 2e-6, mask=mask)


@pytest.mark.parametrize('epsilon', [1e-5, 0.0])
def test_batch_masked_out_whole_is_finite(epsilon):
  args = draw((6, 4), -1)
  y, found, gradients = run(*args, mask=jnp.zeros((6, 1)), epsilon=epsilon)
  for a in (y, *found, *gradients):
    assert np.isfinite(a).all()
  assert not any(np.abs(g).max() for g in gradients)


def test_masked_values_may_be_anything_in_the_statistics():
  x = draw((6, 4), -1)[0]
  mask = np.ones((6, 1))
  mask[3:] = 0
  dirty = x.at[4].set(jnp.nan).at[5].set(jnp.inf)
  clean = functional.moments(x, mask=mask)
  for found, wanted in zip(
    functional.moments(dirty, mask=mask), clean, strict=True
  ):
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('shape', [(6, 4), (1100, 1000)])
def test_bad_value_stays_in_its_feature(shape, bad):
  args = draw(shape, -1)
  good = run(*args)
  args[0] = args[0].at[3, 1].set(bad)
  y, found, (dx, dscale, dbias) = run(*args)
  others = np.arange(shape[1]) != 1
  for a, b in [(y, good[0]), (dx, good[2][0])]:
    np.testing.assert_array_equal(a[:, others], b[:, others])
  for a, b in zip(
    (*found, dscale, dbias), (*good[1], *good[2][1:]), strict=True
  ):
    np.testing.assert_array_equal(a[others], b[others])


def test_gradient_identities():
  """sum_i dL/dh_i = 0; <W, dL/dW> = (sum d xhat) epsilon / (var + epsilon)."""
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    h0, W, d = (
      jnp.asarray(rng.normal(size=s)) for s in [(20, 6), (6, 4), (20, 4)]
    )
    for epsilon in (0.0, 1e-2, 1.0):

      def f(h, epsilon=epsilon):
        return functional.batch_norm(h, epsilon=epsilon)[0]

      y, pull = jax.vjp(f, h0 @ W)
      g = pull(d)[0]
      np.testing.assert_allclose(g.sum(0), 0, atol=1e-12)
      var = functional.moments(h0 @ W).var
      wanted = (d * y).sum(0) * epsilon / (var + epsilon)
      np.testing.assert_allclose((W * (h0.T @ g)).sum(0), wanted, atol=1e-12)


@pytest.mark.parametrize('scale, shift', [(3.0, 0), (0.01, -7), (-2.0, 1e3)])
def test_output_ignores_scale_and_shift_of_the_input(scale, shift):
  with jax.enable_x64(True):
    x = draw((20, 4), -1, np.float64)[0]
    y = functional.batch_norm(x, epsilon=0.0)[0]
    moved = functional.batch_norm(x * scale + shift, epsilon=0.0)[0]
    np.testing.assert_allclose(moved, y * np.sign(scale), atol=1e-11)


def test_complex_input():
  rng = np.random.default_rng(0)
  x = (rng.normal(size=(9, 3)) + 1j * rng.normal(size=(9, 3)) + 4).astype('c8')
  y, found = functional.batch_norm(x)
  mean, var, _ = reference.moments(x)
  assert y.dtype == found.mean.dtype == jnp.complex64
  assert found.var.dtype == jnp.float32
  close(y, (x - mean) / np.sqrt(var + 1e-5), 2e-6)
  close(found.var, var, 2e-6)

  def loss(f):
    return lambda x: jnp.sum(jnp.abs(f(x) + 0.5) ** 3)

  def plain(x):
    gap = x - x.mean(0)
    return gap / jnp.sqrt((gap.real**2 + gap.imag**2).mean(0) + 1e-5)

  wanted = jax.grad(loss(plain))(jnp.asarray(x))
  close(
    jax.grad(loss(lambda x: functional.batch_norm(x)[0]))(x),
    np.asarray(wanted),
    1e-5,
  )


@pytest.mark.parametrize('axis', [3, -3, (0, 2)])
def test_axis_out_of_range(axis):
  with pytest.raises(ValueError, match=r'axis: .*allowed is -2 to 1'):
    functional.moments(jnp.ones((3, 2)), axis=axis)


def test_no_batch_at_all():
  y, found = functional.batch_norm(jnp.zeros((0, 3)))
  assert y.shape == (0, 3)
  np.testing.assert_array_equal(found.count, [0, 0, 0])
  assert np.isfinite(found.mean).all() and np.isfinite(found.var).all()
