"""One step: what it reports, masks, shards, narrow dtypes, divergence.

What holds for every strategy whatever it does is in tests/test_contracts.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import Mesh, PartitionSpec

from bn_jax import losses, step, strategies, trees

pytestmark = pytest.mark.usefixtures('compiles_fast')
every_strategy = pytest.mark.parametrize('name', strategies.names())


def taken(run, batch, steps=1):
  """The state after some steps on one batch, and the last metrics."""
  state = tiny.start(run)
  for _ in range(steps):
    state, metrics = run.train_step(state, batch)
  return state, metrics


def test_metrics_are_those_of_numpy():
  """Planted: a loss in bits, an accuracy of the last class, variances."""
  run, batch = tiny.run(['none']), tiny.batch()
  state = tiny.start(run)
  _, metrics = run.train_step(state, batch)
  x, params = (
    (batch['image'] - tiny.spec().mean) / tiny.spec().std,
    state.params,
  )
  arrived = []
  for layer in (params['dense_0'], params['dense_1']):
    arrived.append(x @ np.float64(layer['kernel']) + layer['bias'])
    x = np.tanh(arrived[-1])
  logits = x @ np.float64(params['head']['kernel']) + params['head']['bias']
  odds = np.exp(logits - logits.max(1, keepdims=True))
  p = odds[range(16), batch['label']] / odds.sum(1)
  near = dict(rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(metrics['train/loss'], -np.log(p).mean(), **near)
  hits = logits.argmax(1) == batch['label']
  np.testing.assert_allclose(metrics['train/accuracy'], hits.mean())
  mean = [h.mean(0) for h in arrived]
  var = [h.var(0) for h in arrived]
  np.testing.assert_allclose(metrics['site/mean'], np.mean(mean, 1), **near)
  np.testing.assert_allclose(metrics['site/var'], np.mean(var, 1), **near)
  away = [
    np.sqrt(np.mean(m**2 + (v**0.5 - 1) ** 2))
    for m, v in zip(mean, var, strict=True)
  ]
  np.testing.assert_allclose(metrics['site/distance'], away, **near)


def test_the_step_goes_down_the_gradient_of_the_mean_loss():
  """Planted: a sum over the batch, a gradient without its penalty.

  The slope along the update, by differences of the reported losses.
  """
  fields = {'strategy.activation_penalty.weight': 0.5}
  run, batch = tiny.run(['activation_penalty'], **fields), tiny.batch()
  state = tiny.start(run)
  new, _ = run.train_step(state, batch)
  update = trees.subtract(new.params, state.params)

  def loss(t):
    params = jax.tree.map(lambda w, u: w + t * u, state.params, update)
    _, metrics = run.train_step(state.replace(params=params), batch)
    return metrics['train/loss'] + metrics['train/penalty']

  slope = (loss(0.05) - loss(-0.05)) / 0.1
  # update = -rate * gradient, so that slope = -|update|^2 / rate.
  wanted = -trees.dot(update, update) / run.config['optimizer']['learning_rate']
  np.testing.assert_allclose(slope, wanted, rtol=0.02)


MASK = np.array([1, 1, 0, 1] + [1, 0, 0, 0] + [0] * 4 + [1] * 4, bool)


def padded():
  """A batch in which 8 of 16 count, 3, 1, 0 and 4 of each quarter."""
  batch = tiny.batch()
  few = {k: v[MASK] for k, v in batch.items()}
  image = np.where(MASK[:, None], batch['image'], np.float32(1e3))
  return few, {**batch, 'image': image, 'mask': MASK}


@every_strategy
def test_padding_counts_for_nothing(name):
  """Planted: statistics, loss and accuracy without the mask."""
  few, whole = padded()
  run = tiny.run([name])
  state = tiny.start(run, batch_=few)
  tiny.assert_trees_close(tiny.start(run, batch_=whole), state)
  wanted = run.train_step(state, few)
  tiny.assert_trees_close(run.train_step(state, whole), wanted, rtol=1e-3)


@every_strategy
def test_shards_of_unequal_counts_make_one_batch(name):
  """Planted: a mean of the devices' means, a penalty counted by each."""
  few, whole = padded()
  run = tiny.run([name])
  state = tiny.start(run, batch_=few)
  wanted = run.train_step(state, few)
  sharded = shards(run.config, 4)
  found = sharded(state, whole)
  tiny.assert_trees_close(found, wanted, rtol=1e-3)


def shards(config, count):
  """A jitted train_step that splits its batch over devices."""
  if len(jax.devices()) < count:
    pytest.skip(f'needs {count} devices')
  program = step.build(config, tiny.spec(), 'data')
  split, whole = PartitionSpec('data'), PartitionSpec()
  mapped = jax.shard_map(
    program.train_step,
    mesh=Mesh(np.array(jax.devices()[:count]), ('data',)),
    in_specs=(whole, split),
    out_specs=whole,
    check_vma=False,
  )
  return jax.jit(mapped)


@every_strategy
def test_a_batch_that_is_masked_out_whole_changes_nothing(name):
  """Planted: a loss over a count of 0."""
  run = tiny.run([name])
  state, _ = run.train_step(tiny.start(run), tiny.batch())
  batch = {**tiny.batch(1), 'mask': np.zeros(16, bool)}
  new, metrics = run.train_step(state, batch)
  tiny.assert_trees_close(new.batch_stats, state.batch_stats)
  tiny.assert_trees_close(new.params, state.params)
  assert new.diverged_at == -1
  assert metrics['train/loss'] == metrics['train/accuracy'] == 0


@pytest.mark.parametrize('name', ['none', 'renormalize', 'batch_norm'])
def test_bfloat16_computes_narrowly_and_keeps_float32(name):
  """Planted: a dtype that does not reach the modules, narrow logits."""
  wide, narrow = (tiny.run([name], dtype=d) for d in ('float32', 'bfloat16'))
  (a, found), (b, wanted) = (taken(r, tiny.batch(), 5) for r in (narrow, wide))
  for metric, value in wanted.items():
    np.testing.assert_allclose(found[metric], value, rtol=0.1, atol=0.05)
  assert found['train/loss'] != wanted['train/loss']
  tiny.assert_trees_close(a.params, b.params, atol=0.1)
  out = narrow.forward(a, tiny.batch())
  assert out.logits.dtype == jnp.float32
  for values in out.sites.values():
    assert values.input.dtype == values.output.dtype == jnp.bfloat16


def test_images_are_standardized_in_raw_units():
  """Planted: a division before the subtraction."""
  config = tiny.config(['none']).to_dict()
  random = np.random.default_rng(0)
  image = random.integers(0, 256, (8, 2, 2, 3), np.uint8)
  batch = {'image': image, 'label': np.zeros(8, np.int32)}
  mean, std = np.float32([100, 120, 140]), np.float32([30, 40, 50])
  raw = step.build(config, step.Spec((2, 2, 3), np.uint8, 3, mean, std))
  plain = step.build(config, step.Spec((2, 2, 3), np.float32, 3, 0.0, 1.0))
  done = {**batch, 'image': np.float32((image - np.float64(mean)) / std)}
  state = jax.jit(plain.initialize)(0, {}, done)
  found = jax.jit(raw.forward)(state, batch).logits
  wanted = jax.jit(plain.forward)(state, done).logits
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


# evaluation


def test_scores_are_sums_with_running_statistics():
  """Planted: a mean for a sum, padding that is counted."""
  run = tiny.run(['batch_norm'])
  state, _ = taken(run, tiny.batch(), 3)
  few, whole = padded()
  found = run.eval_step(state, whole)
  assert found['count'] == 8
  single = [
    run.eval_step(state, {k: v[i : i + 1] for k, v in few.items()})
    for i in range(8)
  ]
  for metric in ('loss', 'correct'):
    total = sum(s[metric] for s in single)
    np.testing.assert_allclose(found[metric], total, rtol=1e-5)
  assert [m.count.tolist() for m in found['moments']] == [[8.0] * 8] * 2


# the share that an edit undid


def test_undone_is_the_projection_on_the_step():
  step_ = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([4.0])}
  old = {'a': jnp.array([1.0, 1.0]), 'b': jnp.array([1.0])}
  proposed = trees.subtract(old, jax.tree.map(lambda x: -x, step_))
  right = {'a': proposed['a'] + jnp.array([0.0, 7.0]), 'b': proposed['b']}
  half = jax.tree.map(lambda w, u: w - u / 2, proposed, step_)
  for kept, wanted in ((old, 1), (proposed, 0), (right, 0), (half, 0.5)):
    assert losses.undone(step_, proposed, kept) == wanted


def test_nothing_is_undone_where_nothing_was_proposed():
  """As in the first step of a warm-up. Planted: 0 / 0."""
  still = {'a': jnp.zeros(2)}
  assert losses.undone(still, still, {'a': jnp.ones(2)}) == 0


def test_the_step_reports_what_its_edit_undid():
  """Against a run with the same network and no edit.

  Planted: the edit's share of the edit.
  """
  fields = {'strategy.activation_penalty.weight': 0.0}
  plain, edited = (
    tiny.run(['activation_penalty'], **fields),
    tiny.run(['renormalize']),
  )
  state = tiny.start(edited)
  proposed, metrics = plain.train_step(state, tiny.batch(1))
  assert 'train/undone' not in metrics
  kept, metrics = edited.train_step(state, tiny.batch(1))
  update = trees.subtract(proposed.params, state.params)
  edit = trees.subtract(kept.params, proposed.params)
  wanted = -trees.dot(edit, update) / trees.dot(update, update)
  np.testing.assert_allclose(metrics['train/undone'], wanted, rtol=1e-3)


# divergence


def broken(state, path):
  """Parameters with an infinite kernel in one layer."""
  kernel = jnp.full_like(state.params[path]['kernel'], jnp.inf)
  return state.replace(params=trees.update(state.params, path, kernel=kernel))


@pytest.mark.parametrize(
  'path, site', [('dense_0', 0), ('dense_1', 1), ('head', -1)]
)
def test_the_first_bad_step_and_its_lowest_site_are_marked(path, site):
  """Planted: the step after it, the highest site."""
  run = tiny.run(['none'])
  state, _ = taken(run, tiny.batch(), 2)
  assert (state.diverged_at, state.diverged_site) == (-1, -1)
  for _ in range(2):  # the second one changes nothing
    state, _ = run.train_step(broken(state, path), tiny.batch())
    assert (state.diverged_at, state.diverged_site) == (2, site)


def test_divergence_is_marked_without_statistics_of_sites():
  run = tiny.run(['none'], **{'log.sites': False})
  state, metrics = taken(run, tiny.batch())
  assert set(metrics) == {'train/loss', 'train/accuracy'}
  state, _ = run.train_step(broken(state, 'dense_0'), tiny.batch())
  assert (state.diverged_at, state.diverged_site) == (1, -1)


def test_nothing_hits_that_is_not_finite():
  """The largest of logits that are not finite is the first, to `argmax`."""
  logits = jnp.array([[jnp.nan] * 3, [jnp.inf, 0, 0], [1.0, 0, 0]])
  batch = {'label': jnp.zeros(3, jnp.int32)}
  assert losses.correct(logits, batch).tolist() == [0, 0, 1]
