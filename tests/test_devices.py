"""Batches split over devices: the same run as on one, within rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from bn_jax import layout, step
from bn_jax.errors import UserError
from bn_jax.layers.batch_norm import BatchNorm
from bn_jax.layers.ghost_batch_norm import GhostBatchNorm

SMALL = {'model__depth': 1, 'model__width': 4, 'num_train_steps': 10}
MEMBERS = [tiny.member(s, optimizer__learning_rate=0.1) for s in (0, 1)]
SPLIT = [
  ('batch_norm',),
  ('activation_penalty',),
  ('renormalize',),
  ('lsuv', 'adaptive_grad_clip'),
]


def curves(chained, data, members=MEMBERS, **fields):
  fields = {**SMALL, 'mesh__data': data, **fields}
  population = tiny.population(chained, members, **fields)
  state = population.initialize()
  state, metrics = population.train(state, 0, 10)
  metrics = population.fetch(metrics)
  scores = population.evaluate(state, tiny.dataset().validation)
  return metrics | scores, population.host(state)


def assert_close(found, wanted, rtol=2e-3):
  for name in wanted:
    np.testing.assert_allclose(
      found[name], wanted[name], rtol=rtol, atol=2e-5, err_msg=name
    )


@pytest.mark.parametrize('chained', SPLIT, ids='+'.join)
def test_devices_that_share_a_batch_agree_with_one(chained, num_devices):
  """Fault: `Layers.axis_name` None under `statistics=global`."""
  num_devices(1)
  wanted, _ = curves(chained, 1)
  for data in (2, 4, 8) if chained == ('batch_norm',) else (4,):
    num_devices(8)
    found, _ = curves(chained, data)
    assert_close(found, wanted)


def test_local_statistics_are_those_of_a_ghost_batch(num_devices):
  """Fault: `statistics=local` that passes the axis on."""
  num_devices(4)
  local, one = curves(('batch_norm',), 4, mesh__statistics='local')
  num_devices(1)
  size = {'strategy__batch_norm__ghost_batch_size': tiny.BATCH // 4}
  ghost, two = curves(('batch_norm',), 1, **size)
  for name in ('train/loss', 'train/accuracy', 'loss', 'accuracy'):
    np.testing.assert_allclose(
      local[name], ghost[name], rtol=2e-3, err_msg=name
    )
  tiny.assert_trees_close(one.batch_stats, two.batch_stats, rtol=1e-3)
  full, _ = curves(('batch_norm',), 1)
  assert not np.allclose(full['train/loss'], ghost['train/loss'], rtol=2e-3)


def test_ghost_batches_do_not_depend_on_the_devices(num_devices):
  size = {'strategy__batch_norm__ghost_batch_size': 4}
  num_devices(1)
  wanted, _ = curves(('batch_norm',), 1, **size)
  num_devices(2)
  found, _ = curves(('batch_norm',), 2, **size)
  assert_close(found, wanted)


def test_one_ghost_batch_is_batch_norm(num_devices):
  num_devices(1)
  size = {'strategy__batch_norm__ghost_batch_size': tiny.BATCH}
  found, one = curves(('batch_norm',), 1, **size)
  wanted, two = curves(('batch_norm',), 1)
  assert_close(found, wanted, rtol=1e-3)
  tiny.assert_trees_close(one.params, two.params, rtol=1e-3)


def test_ghost_batches_against_numpy():
  """Fault: groups that take every n-th example; an unweighted average."""
  random = np.random.default_rng(0)
  x = random.normal(3, 2, (6, 5, 4)).astype(np.float32)
  mask = np.array([1, 1, 1, 0, 0, 0], bool)[:, None, None]
  module = GhostBatchNorm(2, momentum=0.5, epsilon=0.0)
  variables = module.init(jax.random.key(0), x, True)
  y, new = module.apply(variables, x, False, mask=mask, mutable=['batch_stats'])
  found = []
  for g, rows in enumerate([(0, 1), (2,)]):
    group = x[list(rows)].astype(np.float64)
    mean, std = group.mean((0, 1)), group.std((0, 1))
    whole = x[2 * g : 2 * g + 2]
    np.testing.assert_allclose(
      y[2 * g : 2 * g + 2], (whole - mean) / std, rtol=1e-4, atol=1e-5
    )
    found.append((len(rows), mean, std**2))
  mean = sum(n * m for n, m, _ in found) / 3
  var = sum(n * v for n, _, v in found) / 3
  stats = new['batch_stats']
  np.testing.assert_allclose(stats['mean'], 0.5 * mean, rtol=1e-5)
  np.testing.assert_allclose(stats['var'], 0.5 + 0.5 * var, rtol=1e-5)
  assert np.isfinite(y).all()


def test_a_ghost_batch_that_does_not_divide_the_batch(num_devices):
  num_devices(2)
  size = {'strategy__batch_norm__ghost_batch_size': 5}
  with pytest.raises(UserError, match='ghost_batch_size: 5; must divide'):
    tiny.population(('batch_norm',), MEMBERS, **size).check()
  size = {'strategy__batch_norm__ghost_batch_size': 16, 'mesh__data': 2}
  with pytest.raises(UserError, match='part of it, which is 8 examples'):
    tiny.population(('batch_norm',), MEMBERS, **size).check()


def test_ghost_and_batch_norm_have_the_same_variables():
  x = jnp.ones((4, 3))
  ghost = GhostBatchNorm(2, average='debiased').init(jax.random.key(0), x, True)
  whole = BatchNorm(average='debiased').init(jax.random.key(0), x, True)
  assert jax.tree.map(jnp.shape, ghost) == jax.tree.map(jnp.shape, whole)


@pytest.mark.parametrize('statistics', ['global', 'local'])
@pytest.mark.parametrize('chained', [('batch_norm',), ('activation_penalty',)])
def test_parts_weigh_by_what_their_masks_count(chained, statistics):
  """Fault: means of means, over devices with 4, 3, 1 and 0 examples."""
  config = tiny.config(chained, **SMALL, mesh__statistics=statistics).to_dict()
  batch = tiny.batch()
  mask = np.zeros((4, 4), bool)
  for device, count in enumerate((4, 3, 1, 0)):
    mask[device, :count] = True
  batch['mask'] = mask.ravel()
  alone = step.build(config, tiny.spec())
  state = alone.initialize(jnp.uint32(0), {}, tiny.batch())
  split = step.build(config, tiny.spec(), 'data')
  mesh = Mesh(np.array(jax.devices()[:4]), ('data',))
  take = jax.jit(
    jax.shard_map(
      split.train_step,
      mesh=mesh,
      in_specs=(P(), P('data')),
      out_specs=P(),
      check_vma=False,
    )
  )
  found, metrics = take(state, batch)
  if statistics == 'global':
    wanted, expected = jax.jit(alone.train_step)(state, batch)
    tiny.assert_trees_close(found.params, wanted.params, rtol=1e-3)
    assert_close(metrics, expected)
    tiny.assert_trees_close(found.batch_stats, wanted.batch_stats)
    return
  means = [
    tiny.leaves(
      alone.train_step(
        state, {k: v[4 * i : 4 * i + 4] for k, v in batch.items()}
      )[0].batch_stats
    )
    for i in range(3)
  ]
  for i, leaf in enumerate(tiny.leaves(found.batch_stats)):
    wanted = sum(n * m[i] for n, m in zip((4, 3, 1), means, strict=True)) / 8
    np.testing.assert_allclose(leaf, wanted, rtol=1e-4, atol=1e-6)


def test_three_devices_of_two(num_devices):
  num_devices(2)
  with pytest.raises(UserError, match=r'mesh.data: 3; must divide .* is 2'):
    layout.layout(4, 3)


def test_members_take_the_devices_that_batches_leave(num_devices):
  num_devices(8)
  found = layout.layout(5, 2)
  assert dict(found.mesh.shape) == {'member': 4, 'data': 2}
  assert found.slots == 8
  assert dict(layout.layout(1, 1).mesh.shape) == {'member': 1, 'data': 1}
