import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from scipy import stats

from bn_jax import step
from bn_jax.diagnostics import dependence, gaussianity, undone
from bn_jax.diagnostics.gradient_components import gradient_components
from bn_jax.diagnostics.linear_values import linear_values
from bn_jax.diagnostics.prediction import prediction_error
from bn_jax.diagnostics.probes import PROBES
from bn_jax.diagnostics.update_split import share, update_split

RANDOM = np.random.default_rng(0)
# Skewed, heavy-tailed and normal units, in unequal units.
X = np.stack(
  [
    RANDOM.exponential(3, 500),
    RANDOM.standard_t(5, 500) - 7,
    RANDOM.normal(2, 0.1, 500),
  ],
  1,
).astype(np.float32)


@pytest.mark.parametrize('name', PROBES)
def test_probes_that_are_logged_are_numbers_for_one_unit(name):
  one = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
  for x in (one, 0 * one, X):
    found = PROBES[name](x)
    assert found.shape == () and np.isfinite(found)


def test_gaussianity_is_scipys():
  np.testing.assert_allclose(gaussianity.skewness(X), stats.skew(X), rtol=1e-3)
  np.testing.assert_allclose(
    gaussianity.excess_kurtosis(X), stats.kurtosis(X), rtol=1e-3, atol=1e-3
  )
  z = (X - X.mean(0)) / X.std(0)
  quantiles = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
  wanted = [stats.wasserstein_distance(unit, quantiles) for unit in z.T]
  np.testing.assert_allclose(gaussianity.wasserstein(X), wanted, atol=5e-3)


def test_gaussianity_of_a_unit_that_never_varies_is_finite():
  x = np.ones((50, 2), np.float32)
  assert np.isfinite(gaussianity.wasserstein(x)).all()
  assert (np.asarray(gaussianity.skewness(x)) == 0).all()


def test_correlation_and_whiteness_are_numpys():
  x = X @ RANDOM.normal(size=(3, 3)).astype(np.float32)
  wanted = np.corrcoef(x.T)[np.triu_indices(3, 1)]
  np.testing.assert_allclose(
    dependence.correlation(x), np.sqrt(np.mean(wanted**2)), rtol=1e-4
  )
  cov = np.cov(x.T, bias=True)
  np.testing.assert_allclose(
    dependence.whiteness(x),
    np.linalg.norm(cov - np.eye(3)) / np.sqrt(3),
    rtol=1e-4,
  )


def test_components_are_cosines():
  h = RANDOM.normal(size=(40, 3))
  d = RANDOM.normal(size=(40, 3))
  off = h - h.mean(0)
  d[:, 1], d[:, 2] = 2.0, 3 * off[:, 2]
  found = gradient_components(jnp.array(h), jnp.array(d))
  wanted = abs((d[:, 0] * off[:, 0]).sum()) / (
    np.linalg.norm(d[:, 0]) * np.linalg.norm(off[:, 0])
  )
  np.testing.assert_allclose(found.scale, [wanted, 0, 1], atol=1e-5)
  wanted = abs(d[:, 0].sum()) / np.linalg.norm(d[:, 0]) / 40**0.5
  np.testing.assert_allclose(found.shift, [wanted, 1, 0], atol=1e-5)


def test_update_split_of_a_product():
  old = {'a': {'kernel': jnp.array([2.0])}, 'b': {'kernel': jnp.array([3.0])}}
  new = {'a': {'kernel': jnp.array([4.0])}, 'b': {'kernel': jnp.array([2.0])}}
  changes = update_split(
    lambda p: p['a']['kernel'] * p['b']['kernel'], old, new
  )
  assert {k: float(v[0]) for k, v in changes.items()} == {
    'a/kernel': 6.0,
    'b/kernel': -2.0,
  }
  assert float(share(changes, 'a/kernel')) == 0.75


@pytest.mark.parametrize(
  ('kept', 'wanted'), [(1.0, 0.0), (0.0, 1.0), (0.25, 0.75), (-1.0, 2.0)]
)
def test_share_undone(kept, wanted):
  proposed = jnp.array([3.0, -4.0])
  assert float(undone.share_undone(proposed, kept * proposed)) == wanted
  sideways = kept * proposed + jnp.array([4.0, 3.0])
  assert float(undone.share_undone(proposed, sideways)) == wanted
  tree = lambda x: {'dense_0': {'kernel': x, 'bias': x[:1]}}  # noqa: E731
  found = undone.shares_by_layer(
    tree(jnp.zeros(2)), tree(proposed), tree(kept * proposed)
  )
  assert {k: float(v) for k, v in found.items()} == {'dense_0': wanted}
  size = float(undone.length(tree(jnp.zeros(2)), tree(proposed)))
  assert size == pytest.approx(34**0.5)
  assert float(undone.cosine(proposed, jnp.zeros(2))) == 0
  assert float(undone.cosine(proposed, -2 * proposed)) == pytest.approx(-1)


def test_probes_work_under_vmap():
  x = jnp.stack([X, 2 * X + 1])
  for probe in (gaussianity.wasserstein, dependence.correlation):
    found = jax.vmap(probe)(x)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


def test_shift_scale_share_is_of_radial_steps_and_biases():
  kernel = jnp.array([[3.0, 1.0], [4.0, 0.0]])
  old = {'dense_0': {'kernel': kernel, 'bias': jnp.zeros(2)}}

  def share_of(step, bias=0.0):
    new = {'dense_0': {'kernel': kernel + step, 'bias': jnp.full(2, bias)}}
    return float(undone.shift_scale_share(old, new, ['dense_0']))

  assert share_of(0.5 * kernel) == pytest.approx(1)
  sideways = jnp.array([[4.0, 0.0], [-3.0, 2.0]])
  assert share_of(sideways) == pytest.approx(0, abs=1e-6)
  assert share_of(sideways, 5.0) == pytest.approx(50 / 79)
  assert share_of(sideways + kernel) == pytest.approx(26 / 55)


def test_linear_values_are_what_dense_layers_see():
  run = tiny.run(('batch_norm',), model__depth=2)
  state = tiny.start(run)
  model = step.assemble(run.config, {}, tiny.CLASSES).model
  image = tiny.batch()['image']
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  found = linear_values(model, variables, image, train=True)
  assert list(found) == ['dense_0', 'dense_1', 'head']
  np.testing.assert_array_equal(found['dense_0'][0], image)
  for path, (x, y) in found.items():
    own = state.params[path]
    wanted = x @ own['kernel'] + own.get('bias', 0)
    np.testing.assert_allclose(y, wanted, rtol=1e-3, atol=1e-3)
  standard = (found['dense_0'][1] - found['dense_0'][1].mean(0)) / (
    found['dense_0'][1].std(0)
  )
  np.testing.assert_allclose(found['dense_1'][0], np.tanh(standard), atol=1e-2)


def steps_of(edit):
  """`successive_steps` of a run whose edit maps the parameters after a step."""
  plain = tiny.run(('none',), log__sites=False).program

  def train_step(state, batch):
    new, metrics = plain.train_step(state, batch)
    return new.replace(params=jax.tree.map(edit, new.params)), metrics

  program = plain._replace(train_step=train_step)
  rate = {'optimizer.learning_rate': jnp.float32(0.1)}
  idle = {'optimizer.learning_rate': jnp.float32(0)}
  state = plain.initialize(0, rate, tiny.batch())
  batches = jax.tree.map(
    lambda *x: np.stack(x), *[tiny.batch(i) for i in range(3)]
  )
  run = jax.jit(
    lambda state: undone.successive_steps(
      program, plain, idle, state, batches, tiny.batch(9)
    )
  )
  return run(state)


def test_an_edit_that_does_nothing_undoes_nothing():
  found = steps_of(lambda p: p)
  assert found['cosine'].shape == (2,)
  for name in ('parameters', 'function', 'layers'):
    np.testing.assert_allclose(found[name], 0, atol=1e-4, err_msg=name)
  assert found['layers'].shape == (3, 3)
  for name in ('kept', 'net'):
    np.testing.assert_allclose(found[name], found['proposed'], rtol=1e-4)


def test_an_edit_that_moves_parameters_at_rest_undoes_nothing_by_that():
  """Of p -> c p + b a step keeps the share c, whatever b is."""
  found = steps_of(lambda p: 0.25 * p + 0.1)
  for name in ('parameters', 'layers'):
    np.testing.assert_allclose(found[name], 0.75, atol=1e-3, err_msg=name)
  np.testing.assert_allclose(found['kept'], 0.25 * found['proposed'], rtol=1e-3)
  assert (np.asarray(found['net']) > 2 * np.asarray(found['kept'])).all()


def test_proposed_moments_of_a_step_made_by_hand():
  """h = x W + b; W doubled and b moved: log 2, and (E x W + db) / deviation."""
  run = tiny.run(('none',), log__sites=False)
  batch, state = tiny.batch(), tiny.start(run)
  old = state.params['dense_0']
  new = {'kernel': 2 * old['kernel'], 'bias': old['bias'] + 3}
  moved = state.replace(params=state.params | {'dense_0': new})
  found = undone.proposed_moments(run.program, state, moved, batch)
  data = tiny.dataset()
  x = (batch['image'] - data.mean) / data.std
  h = np.asarray(x @ old['kernel'] + old['bias'])
  shift = (x @ old['kernel']).mean(0) + 3
  wanted = np.concatenate([shift / h.std(0), np.full(8, np.log(2))])
  np.testing.assert_allclose(found[:16], wanted, rtol=1e-3, atol=1e-4)
  assert len(found) == 2 * 16
  idle = undone.proposed_moments(run.program, state, state, batch)
  np.testing.assert_array_equal(idle, 0)


def test_prediction_error_of_a_quadratic_is_its_second_order_term():
  """J = a p + p'Hp / 2: dJ = e |g|^2 + e^2 g'Hg / 2."""
  with jax.enable_x64(True):
    a, p = RANDOM.normal(size=(2, 5))
    H = RANDOM.normal(size=(5, 5))
    H = H + H.T

    def objective(params):
      v = jnp.concatenate([params['x'], params['y']])
      return a @ v + v @ H @ v / 2

    params = {'x': jnp.array(p[:2]), 'y': jnp.array(p[2:])}
    gradient = jax.grad(objective)(params)
    g = a + H @ p
    for e in (1e-3, 0.1, 2.0):
      found = prediction_error(objective, params, gradient, e)
      wanted = abs(e * (g @ H @ g) / 2 / (g @ g))
      np.testing.assert_allclose(found, wanted, rtol=1e-7)
