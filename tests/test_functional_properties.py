"""Any shape, axes, dtype and mask: the answer is the float64 reference's."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from bn_jax import functional
from experiments.conformance_suite import reference

# Relative to the largest value, of outputs and gradients.
TOLERANCES = {
  'float32': 3e-6,
  'bfloat16': 2e-2,
  'float16': 4e-3,
  'float64': 1e-11,
  'complex64': 3e-6,
}
SETTINGS = hypothesis.settings(
  max_examples=15,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)


@st.composite
def problems(draw, dtype):
  """Arrays, feature axes, epsilon, and a mask of a shape that broadcasts."""
  shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
  axes = draw(
    st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=2)
  )
  axis = draw(st.sampled_from([axes[0], tuple(axes)]))
  rng = np.random.default_rng(draw(st.integers(0, 99)))
  mean, std = draw(st.sampled_from([(0, 1), (3, 2), (1e4, 1), (-5, 1e-2)]))
  if dtype in ('bfloat16', 'float16') and abs(mean) > 1e3:
    mean = 10

  def normal(mean, std):
    x = rng.normal(mean, std, shape)
    if dtype == 'complex64':
      x = x + 1j * rng.normal(-mean, std, shape)
    return x.astype(jnp.dtype(dtype))

  x = normal(mean, std)
  mask = None
  if draw(st.booleans()):
    keep = draw(
      st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))
    )
    sizes = [n if k else 1 for n, k in zip(shape, keep, strict=True)]
    sizes = sizes[draw(st.integers(0, len(sizes))) :]
    mask = rng.random(sizes) < draw(st.sampled_from([0.0, 0.5, 0.9]))
  kept = reference.axes_of(len(shape), axis)
  features = [n for a, n in enumerate(shape) if a not in kept]
  width = 'f8' if dtype == 'float64' else 'f4'
  parameters = [rng.normal(1, 0.5, features).astype(width) for _ in range(2)]
  return (
    (x, *parameters, normal(0, 1)),
    axis,
    mask,
    draw(st.sampled_from([1e-5, 1e-2])),
  )


@pytest.mark.parametrize('dtype', TOLERANCES)
@SETTINGS
@hypothesis.given(st.data())
def test_any_problem_has_the_references_answer(dtype, data):
  problem = data.draw(problems(dtype))
  (x, scale, bias, d), axis, mask, epsilon = problem

  @jax.jit
  def run(x, scale, bias, d):
    def f(*a):
      return functional.batch_norm(
        *a, axis=axis, mask=mask, epsilon=epsilon, dtype=x.dtype
      )

    y, pull, found = jax.vjp(f, x, scale, bias, has_aux=True)
    return y, found, pull(d)

  with jax.enable_x64(x.dtype == np.float64):
    # JAX's cotangents are the conjugates of the reference's gradients.
    y, found, (dx, dscale, dbias) = run(x, scale, bias, d.conj())
  wanted = reference.batch_norm(
    x, scale, bias, d, axis=axis, mask=mask, epsilon=epsilon
  )
  # What one rounding of d and y may do to each: gradients scale with 1 / std.
  limit = TOLERANCES[str(x.dtype)]
  rstd = 1 / np.sqrt(wanted.var.min(initial=np.inf) + epsilon)
  sizes = {
    'y': max(1, np.abs(wanted.y).max()),
    'dx': max(rstd * np.abs(scale).max(), np.abs(wanted.dx).max()),
    'dscale': np.sqrt(x.size) * max(1, np.abs(wanted.dscale).max()),
    'dbias': max(1, np.abs(wanted.dbias).max()),
  }
  dx = np.asarray(dx).conj()
  values = {'y': y, 'dx': dx, 'dscale': dscale, 'dbias': dbias}
  for name, value in values.items():
    gap = np.abs(reference.wide(value) - getattr(wanted, name)).max()
    assert gap <= limit * sizes[name], (name, gap, sizes[name])
  for name in ('mean', 'var', 'count'):
    a, b = getattr(found, name), getattr(wanted, name)
    assert a.dtype.itemsize >= 8 or x.dtype != np.float64
    limit = 1e-12 if x.dtype == np.float64 else 2e-6
    np.testing.assert_allclose(a, b, rtol=limit, atol=limit)


@pytest.mark.parametrize('dtype', TOLERANCES)
@SETTINGS
@hypothesis.given(st.data(), st.permutations(range(3)))
def test_order_of_the_batch_does_not_matter(dtype, data, order):
  problem = data.draw(problems(dtype))
  (x, scale, bias, _), axis, _, epsilon = problem
  hypothesis.assume(x.ndim > 1 and 0 in reference.axes_of(x.ndim, axis))
  index = np.argsort([order[i % 3] for i in range(len(x))], kind='stable')

  @jax.jit
  def run(x):
    return functional.batch_norm(x, scale, bias, axis=axis, epsilon=epsilon)[0]

  with jax.enable_x64(x.dtype == np.float64):
    a, b = reference.wide(run(x))[index], reference.wide(run(x[index]))
  limit = TOLERANCES[str(x.dtype)]
  np.testing.assert_allclose(a, b, atol=10 * limit * max(1, np.abs(a).max()))


@SETTINGS
@hypothesis.given(
  st.sampled_from(functional.AVERAGES),
  st.floats(0, 1),
  st.lists(st.floats(-10, 10), min_size=1, max_size=8),
)
def test_average_stays_between_what_it_averages(average, momentum, values):
  """And a constant stream gives back the constant, wherever it started."""

  def run(values):
    running = values[0] if average == 'ema' else 1e3
    for t, v in enumerate(values):
      running = functional.update_running(
        running, jnp.float32(v), momentum, count=t, average=average
      )
    return float(running)

  found = run(values)
  slack = 1e-5 * max(map(abs, values)) + 1e-30
  assert min(values) - slack <= found <= max(values) + slack
  assert abs(run([values[0]] * 5) - values[0]) <= slack
