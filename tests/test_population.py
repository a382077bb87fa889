"""Many runs as one program: groups, idle slots, rows, chunks, scores.

Members that diverge and rounds are in tests/test_rounds.py, split batches in
tests/test_devices.py; that a member equals its single run under every strategy
is a contract.
"""

import jax
import numpy as np
import pytest
import tiny
from scipy import stats

from bn_jax import feeding, scoring
from bn_jax.data import batch_indices
from bn_jax.diagnostics import normality
from bn_jax.functional import Moments
from bn_jax.layout import layout

pytestmark = pytest.mark.usefixtures('compiles_fast')

MEMBERS = [
  tiny.member(seed, optimizer__learning_rate=rate)
  for seed, rate in ((3, 0.1), (3, 0.3), (4, 0.1), (5, 0.2), (5, 0.1))
]


def trained(members=MEMBERS, steps=10, **fields):
  """A population after a chunk: itself, its state on the host, its curves."""
  fields = {'model.width': 4, **fields}
  many = tiny.population(['batch_norm'], members, **fields)
  state, metrics = many.train(many.initialize(), 0, steps)
  return many, many.host(state), many.fetch(metrics)


@pytest.fixture(scope='module')
def singles():
  """Each member on its own, in a program where its numbers are constants."""
  found = []
  for member in MEMBERS:
    alone = {'seed': member['seed'], 'hparams': {}}
    with pytest.MonkeyPatch.context() as patch:
      devices = jax.devices()[:1]
      patch.setattr(jax, 'devices', lambda *_, d=devices: d)
      found.append(trained([alone], **member['hparams'])[1:])
  return found


@pytest.mark.parametrize(
  'devices, group, slots',
  [(1, 1, 5), (2, 2, 8), (1, 4, 8), (1, 5, 5), (8, 0, 5)],
)
def test_a_member_equals_its_single_run(
  devices, group, slots, num_devices, singles
):
  """Planted: members in reverse in a group; idle slots that come first."""
  num_devices(devices)
  many, state, metrics = trained(**{'mesh.group': group})
  assert many.layout.slots == slots
  for i, (alone, wanted) in enumerate(singles):
    own = jax.tree.map(lambda x, i=i: x[i : i + 1], state)
    tiny.assert_trees_close(own.params, alone.params)
    tiny.assert_trees_close(own.batch_stats, alone.batch_stats)
    for name, values in wanted.items():
      np.testing.assert_allclose(
        metrics[name][i], values[0], rtol=1e-3, atol=1e-5, err_msg=name
      )
  losses = metrics['train/loss']
  assert losses.shape == (5, 2) and len(np.unique(losses)) == 10


@pytest.mark.parametrize(
  'members, devices, group, wanted',
  [
    (1, 8, 0, (1, 1, 1)),
    (8, 8, 0, (8, 1, 8)),
    (9, 8, 0, (8, 1, 16)),
    (200, 2, 0, (2, 1, 200)),
    (10, 2, 4, (2, 4, 16)),
    (3, 2, 2, (2, 2, 4)),
  ],
)
def test_members_are_spread_evenly(
  members, devices, group, wanted, num_devices
):
  """On a CPU: one run at a time on each core, unless told otherwise."""
  num_devices(devices)
  found = layout(members, 1, group)
  assert (found.mesh.shape['member'], found.group, found.slots) == wanted


def test_an_accelerator_runs_all_its_members_at_once(monkeypatch):
  class Device:
    platform, process_index = 'gpu', 0

  monkeypatch.setattr(jax, 'devices', lambda *_: [Device()] * 2)
  monkeypatch.setattr('bn_jax.layout.Mesh', lambda grid, axes: grid)
  assert layout(101)[1:] == (51, 102)


def test_chunks_do_not_show(num_devices):
  """Planted: a chunk that sees the batches of the first one."""
  num_devices(1)
  many, whole, metrics = trained(MEMBERS[:2], 20)
  state, pieces = many.initialize(), []
  for first, count in ((0, 5), (5, 10), (15, 5)):
    state, found = many.train(state, first, count)
    pieces.append(many.fetch(found))
  tiny.assert_trees_equal(many.host(state), whole)
  for name, values in metrics.items():
    found = np.concatenate([piece[name] for piece in pieces], 1)
    np.testing.assert_array_equal(found, values)


def test_a_row_is_the_mean_of_its_steps(dataset, num_devices):
  """And a step sees the examples that are its own by seed and number.

  Planted: the last step for the mean; the order of another seed.
  """
  num_devices(1)
  fields = {'log.every': 2, 'num_train_steps': 4, 'log.eval_every': 2}
  _, _, metrics = trained(MEMBERS[1:2], 4, **fields)
  run = tiny.run(['batch_norm'], **{'model.width': 4})
  hparams = {'optimizer.learning_rate': np.float32(0.3)}
  indices = batch_indices(3, 0, 4, tiny.BATCH, 96)
  batches = [dataset.train.read(i)._asdict() for i in indices]
  state, losses, sites = tiny.start(run, 3, hparams, batches[0]), [], []
  for batch in batches:
    state, found = run.train_step(state, batch)
    losses.append(found['train/loss'])
    sites.append(found['site/var'])
  wanted = np.reshape(losses, (2, 2)).mean(1)
  np.testing.assert_allclose(metrics['train/loss'][0], wanted, rtol=1e-5)
  wanted = np.reshape(sites, (2, 2, 2)).mean(1)
  for i in range(2):
    found = metrics[f'site_{i}/var'][0]
    np.testing.assert_allclose(found, wanted[:, i], rtol=1e-4)


def of_the_last_batch(**fields):
  """A member's metrics, and the sites on the last batch of its training."""
  _, state, metrics = trained(MEMBERS[:1], **fields)
  run = tiny.run(['batch_norm'], **{'model.width': 4})
  last = batch_indices(3, 9, 1, tiny.BATCH, 96)[0]
  own = jax.tree.map(lambda x: x[0], state)
  out = run.forward(own, tiny.dataset().train.read(last)._asdict())
  return metrics, out.sites


@pytest.mark.parametrize('data', [1, 2])
def test_percentiles_are_those_of_the_last_batch_of_a_row(data, num_devices):
  """Of one unit before its nonlinearity, over the whole batch.

  Planted: another unit, those of one device's part.
  """
  num_devices(data)
  fields = {'log.percentiles': True, 'log.unit': 2, 'mesh.data': data}
  metrics, sites = of_the_last_batch(**fields)
  for site, values in sites.items():
    wanted = np.percentile(values.output[:, 2], (15, 50, 85))
    found = [metrics[f'{site}/p{p}'][0, -1] for p in (15, 50, 85)]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    unit = np.float64(values.output[:, 2])
    for name, wanted in (('mean', unit.mean()), ('var', unit.var())):
      found = metrics[f'{site}/unit_{name}'][0, -1]
      np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('data', [1, 2])
def test_probes_are_of_the_last_batch_of_a_row(data, num_devices):
  """Planted: one device's part of the batch, what leaves the site."""
  num_devices(data)
  names = ('correlation', 'wasserstein', 'skewness', 'kurtosis', 'whiteness')
  fields = {'log.probes': names, 'mesh.data': data}
  metrics, sites = of_the_last_batch(**fields)
  for site, values in sites.items():
    x = np.float64(values.normalized)
    pairs = np.corrcoef(x.T)[~np.eye(4, dtype=bool)]
    gap = np.cov(x.T, bias=True) - np.eye(4)
    wanted = {
      'correlation': np.sqrt(np.mean(pairs**2)),
      'skewness': np.abs(stats.skew(x)).mean(),
      'kurtosis': np.abs(stats.kurtosis(x)).mean(),
      'whiteness': np.linalg.norm(gap) / 2,
    }
    for name, value in wanted.items():
      found = metrics[f'{site}/{name}'][0, -1]
      np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-4)
    assert 0 < metrics[f'{site}/wasserstein'][0, -1] < 0.5


def test_scores_are_over_a_part_whatever_its_batches(
  dataset, monkeypatch, num_devices
):
  """Planted: a mean of batches' means, padding that counts."""
  num_devices(1)
  many, state, _ = trained(MEMBERS[:2])
  wanted = many.evaluate(many.place(state), dataset.validation)
  monkeypatch.setattr(feeding, 'EVAL_BATCH', 7)  # 40 = 5 x 7 + 5
  found = many.evaluate(many.place(state), dataset.validation)
  assert set(found) == {'loss', 'accuracy'} | {
    f'site_{i}/{name}' for i in (0, 1) for name in ('mean', 'var', 'distance')
  }
  for name, values in wanted.items():
    assert found[name].shape == (2,)
    np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)
  run = tiny.run(['batch_norm'], **{'model.width': 4})
  own = jax.tree.map(lambda x: x[1], state)
  sums = run.eval_step(own, dataset.validation._asdict())
  np.testing.assert_allclose(wanted['loss'][1], sums['loss'] / 40, rtol=1e-4)
  assert wanted['accuracy'][1] == np.float32(sums['correct'] / 40)


def test_merged_moments_are_those_of_all_examples():
  """Planted: a mean of variances, batches that count the same."""
  random = np.random.default_rng(0)
  parts = [random.normal(i, 1 + i, (n, 3)) for i, n in enumerate((5, 2, 9))]
  moments = Moments(
    np.array([p.mean(0) for p in parts]),
    np.array([p.var(0) for p in parts]),
    np.array([[len(p)] * 3 for p in parts], float),
  )
  mean, var = scoring.merge(moments)
  every = np.concatenate(parts)
  np.testing.assert_allclose(mean, every.mean(0), rtol=1e-6)
  np.testing.assert_allclose(var, every.var(0), rtol=1e-6)
  found = scoring.distance(mean, var)
  np.testing.assert_allclose(found, normality.distance(mean, var), rtol=1e-6)


def test_what_the_host_holds_goes_back(num_devices):
  num_devices(2)
  many = tiny.population(['none'], MEMBERS[:3], **{'model.width': 4})
  state = many.initialize()
  held = many.host(state)
  assert {x.shape[0] for x in tiny.leaves(held)} == {3}
  assert {x.shape[0] for x in tiny.leaves(many.place(held))} == {4}
  tiny.assert_trees_equal(many.host(many.place(held)), held)
