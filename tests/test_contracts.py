"""What every strategy in the folder keeps, whatever else it does.

The cases are found, not listed (tests/tiny.py). Each contract was seen to fail
under the fault that is named with it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from bn_jax import config as config_lib
from bn_jax import models, step, strategies, train
from bn_jax.layers.site import survey
from bn_jax.rounds import Rounds

pytestmark = pytest.mark.usefixtures('compiles_fast')
# One compiled program serves several contracts, and learns fast.
ADAM = {'optimizer.name': 'adam', 'optimizer.learning_rate': 0.02}
every_case = pytest.mark.parametrize(**tiny.each_case)


@every_case
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_1_a_step_keeps_structure_shapes_and_dtypes(chained, dtype):
  """Faults: parameters, or Adam's moments, that a post_step makes bfloat16."""
  run = tiny.run(chained, dtype=dtype, **ADAM)
  before = jax.eval_shape(
    run.program.initialize, jnp.uint32(0), {}, tiny.batch()
  )
  after, metrics = jax.eval_shape(run.program.train_step, before, tiny.batch())
  assert jax.tree.structure(after) == jax.tree.structure(before)
  assert jax.tree.leaves(after) == jax.tree.leaves(before)
  kept = (after.params, after.batch_stats, after.opt_state, metrics)
  floats = [x.dtype for x in jax.tree.leaves(kept) if x.dtype != jnp.int32]
  assert set(floats) == {jnp.dtype('float32')}


@every_case
def test_2_it_learns_a_fixed_batch(chained):
  """Fault: a post_step that goes back to where the step began.

  What is learned must also hold at evaluation, with running statistics.
  """
  run = tiny.run(chained, **ADAM)
  state, batch = tiny.start(run), tiny.batch()
  first = run.eval_step(state, batch)
  for _ in range(60):
    state, metrics = run.train_step(state, batch)
  last = run.eval_step(state, batch)
  assert metrics['train/loss'] < 0.1 < 0.7 < first['loss'] / tiny.BATCH
  assert last['loss'] / tiny.BATCH < 0.1
  assert last['correct'] == tiny.BATCH
  assert state.step == 60 and state.diverged_at == -1


@pytest.mark.parametrize(
  'chained', [c for c in tiny.CASES if 'none' not in c], ids='+'.join
)
def test_3_none_before_it_changes_nothing(chained):
  """Fault: a `chain` that loses the first post_step it is given."""
  alone, behind = (
    tiny.run(chained, **ADAM),
    tiny.run(('none', *chained), **ADAM),
  )
  states = [tiny.start(alone), tiny.start(behind)]
  for number in range(3):
    batch = tiny.batch(number)
    (a, found), (b, wanted) = (
      run.train_step(state, batch)
      for run, state in zip((alone, behind), states, strict=True)
    )
    tiny.assert_trees_equal(found, wanted)
    tiny.assert_trees_equal(a.params, b.params)
    tiny.assert_trees_equal(a.batch_stats, b.batch_stats)
    states = [a, b]


@every_case
def test_4_a_member_equals_its_single_run(chained, dataset, num_devices):
  """Faults: groups in reverse, numbers that do not reach the strategy.

  What members differ in is traced here, and constant in the single run.
  """
  num_devices(1)
  members = [_member(chained, seed, factor) for seed, factor in MEMBERS]
  many = tiny.population(chained, members, dataset, mesh__group=2)
  assert (many.layout.group, many.layout.slots) == (2, 4)
  state, metrics = many.train(many.initialize(), 0, 10)
  metrics = many.fetch(metrics)
  last = members[-1]
  alone = [{'seed': last['seed'], 'hparams': {}}]
  one = tiny.population(chained, alone, dataset, **last['hparams'])
  single, wanted = one.train(one.initialize(), 0, 10)
  own = jax.tree.map(lambda x: x[2:3], state)
  tiny.assert_trees_close(own.params, single.params)
  tiny.assert_trees_close(own.batch_stats, single.batch_stats)
  tiny.assert_trees_close(
    {k: v[2:] for k, v in metrics.items()}, one.fetch(wanted)
  )
  # What is tuned has an effect, so that the numbers did arrive: the first two
  # differ in nothing else.
  losses = metrics['train/loss']
  assert len({values.tobytes() for values in losses}) == 3


MEMBERS = ((3, 1.0), (3, 2.0), (4, 1.5))


def _member(chained, seed, factor):
  """All that comparisons tune of its strategies; the rate, if it is nothing."""
  tuned = any(strategies.search(name) for name in chained)
  hparams = {'optimizer.learning_rate': 0.1 if tuned else 0.1 * factor}
  for name in chained:
    defaults = strategies.defaults(name)
    for field, value in defaults.items():
      if isinstance(value, float):
        scale = factor if field in strategies.search(name) else 1.0
        hparams[f'strategy.{name}.{field}'] = value * scale
  return {'seed': seed, 'hparams': hparams}


@every_case
@pytest.mark.parametrize('model', models.names())
def test_5_sites_are_where_none_has_them(chained, model):
  """Fault: a site that is left out where the bias is redundant."""
  found = _sites('+'.join(chained), model)
  assert found == _sites('none', model) and found


@functools.cache
def _sites(chained, model):
  made = config_lib.default(chained, model).to_dict()
  parts = step.assemble(made, {}, tiny.CLASSES)
  return survey(parts.model, jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32))


@every_case
def test_5_what_is_at_a_site_has_the_shapes_of_none(chained):
  """Fault: an Affine that sows a flat `normalized`."""
  shapes = []
  for case in (chained, ('none',)):
    run = tiny.run(case)
    state = jax.eval_shape(
      run.program.initialize, jnp.uint32(0), {}, tiny.batch()
    )
    out = jax.eval_shape(run.program.forward, state, tiny.batch())
    shapes.append(
      {
        path: [values.input.shape, values.normalized.shape, values.output.shape]
        for path, values in out.sites.items()
      }
    )
  assert shapes[0] == shapes[1]


@every_case
def test_6_evaluating_an_example_does_not_depend_on_its_batch(chained):
  """Faults: sites that use the batch's statistics, padding that is scored."""
  run = tiny.run(chained, **ADAM)
  state, batch = tiny.start(run), tiny.batch()
  for number in range(3):
    state, _ = run.train_step(state, tiny.batch(number))
  mask = np.arange(tiny.BATCH) < 5
  few = {k: v[:5] for k, v in batch.items()}
  noise = np.where(mask[:, None], batch['image'], 1e3)
  noise = {**batch, 'image': noise.astype(np.float32), 'mask': mask}
  alone, among = (run.eval_step(state, b) for b in (few, noise))
  each = [
    run.eval_step(state, {k: v[i : i + 1] for k, v in batch.items()})
    for i in range(5)
  ]
  for name in ('loss', 'correct', 'count'):
    np.testing.assert_allclose(among[name], alone[name], rtol=1e-5)
    total = sum(scores[name] for scores in each)
    np.testing.assert_allclose(total, alone[name], rtol=1e-5)


@every_case
def test_7_resuming_gives_the_curve_of_never_stopping(
  chained, dataset, num_devices, monkeypatch, tmp_path
):
  """Faults: checkpoints without the optimizer's momentum, or the step."""
  num_devices(1)
  monkeypatch.setattr(train, 'load', lambda _: dataset)
  # tests/test_train.py resumes with a program of its own; compiling takes time.
  once = functools.cache(lambda: Rounds(made.to_dict(), dataset, members))
  monkeypatch.setattr(train, 'Rounds', lambda *_: once())
  fields = {'optimizer.momentum': 0.9, 'checkpoint.seconds': 0.0}
  made = tiny.config(chained, num_train_steps=30, **fields)
  members = [tiny.member(1), tiny.member(2)]
  ends, finish = [], train._Loop.finish
  monkeypatch.setattr(
    train._Loop,
    'finish',
    lambda loop, *rest: (ends.append(loop.good.state), finish(loop, *rest))[1],
  )
  stopped, whole = tmp_path / 'stopped', tmp_path / 'whole'
  with pytest.raises(tiny.StoppedError):
    train.fit(made, members, stopped, progress=tiny.stop_at(20))
  steps = tiny.Steps()
  train.fit(made, members, stopped, test=True, progress=steps)
  assert steps == [(10, False), (10, True), (10, True)]
  train.fit(made, members, whole, test=True)
  found, wanted = ((f / 'curves.jsonl').read_text() for f in (stopped, whole))
  assert found == wanted
  tiny.assert_trees_equal(*map(jax.device_get, ends))
