"""Commands use again what they traced, and see what was edited.

Planted and seen: a key without the data's statistics, with the numbers that
are traced, with nothing of the config; a script whose traces are kept; an entry
whose sources are not looked at.
"""

import functools
import os
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pages
import pytest
import tiny

from bn_jax import devices, programs, results, step
from bn_jax.population import Population
from experiments import compare, train


@pytest.mark.parametrize('command', [train, compare])
def test_a_script_that_calls_a_command_keeps_nothing(
  command, monkeypatch, tmp_path
):
  """It may patch what is traced, as tests do."""

  def stop(*_):
    raise InterruptedError

  monkeypatch.setattr(devices, 'set_up', stop)
  config = pages.ROOT / 'configs' / 'mnist1d_mlp.py'
  with pytest.raises(InterruptedError):
    command.main([f'--config={config}', f'--workdir={tmp_path / "run"}'])
  assert not programs._keeping


def population(dataset, chained=('batch_norm',), seed=0, rate=0.1, **fields):
  made = tiny.config(
    chained, **fields, optimizer__learning_rate=rate, seed=seed
  )
  hparams = {'optimizer.learning_rate': rate}
  members = [{'seed': seed, 'hparams': hparams}]
  return Population(made.to_dict(), dataset, members)


def trained(population):
  population.check()
  state, curves = population.train(population.initialize(), 0, 10)
  return population.host(state), population.fetch(curves)


@pytest.mark.parametrize('chained', [('batch_norm',), ('renormalize',)])
def test_a_warm_population_traces_no_step_and_is_the_same(
  dataset, traces, monkeypatch, chained
):
  dataset = dataset._replace(std=dataset.std.astype(np.float64))
  make = functools.partial(population, dataset, chained)
  monkeypatch.setattr(programs, '_keeping', False)
  plain = [trained(make()), trained(make(seed=3, rate=0.2))]
  monkeypatch.setattr(programs, '_keeping', True)
  cold = trained(make())

  def refuse(*_):
    raise AssertionError('traced')

  monkeypatch.setattr(step._Run, 'train_step', refuse)
  monkeypatch.setattr(step._Run, 'initialize', refuse)
  warm = [trained(make()), trained(make(seed=3, rate=0.2))]
  for found, wanted in [(cold, plain[0]), *zip(warm, plain, strict=True)]:
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
  with pytest.raises(AssertionError, match='traced'):
    trained(make(optimizer__momentum=0.5))
  other = dataset._replace(std=dataset.std * (1 + 1e-12))
  with pytest.raises(AssertionError, match='traced'):
    trained(population(other, chained))


def edit(file, old, new):
  text = file.read_text()
  assert text.count(old) == 1
  file.write_text(text.replace(old, new))


def curves(tree, workdir):
  """What a command writes that trains by the tree's config."""
  words = '--config=configs/mnist1d_mlp.py:adaptive_grad_clip'
  small = '--config.num_train_steps=10 --config.log.every=5 '
  small += '--config.log.eval_every=10 --config.model.width=4'
  run = [sys.executable, '-m', 'experiments.train', words, *small.split()]
  cache = {'JAX_COMPILATION_CACHE_DIR': str(workdir.parent / 'xla')}
  # Bytecode goes by a file's size and time, which are kept below.
  subprocess.run(
    [*run, f'--workdir={workdir}'],
    cwd=tree,
    env={**os.environ, **cache, 'PYTHONDONTWRITEBYTECODE': '1'},
    check=True,
    timeout=300,
  )
  return results.load(workdir)['train/loss']


def test_a_command_sees_an_edited_config_and_strategy(tmp_path):
  """As a user would: train, edit, train."""
  tree, before = tmp_path / 'tree', tmp_path / 'before.py'
  for name in ('bn_jax', 'configs', 'experiments'):
    shutil.copytree(pages.ROOT / name, tree / name)
  config = tree / 'configs' / 'mnist1d_mlp.py'
  made = 'made = config_lib.default(names)\n'
  made += "  made.model.activation = 'tanh'\n  return made"
  edit(config, 'return config_lib.default(names)', made)
  shutil.copy2(config, before)
  time.sleep(programs.MARGIN_SECONDS + 1)

  def kept():
    entries = (tmp_path / 'xla' / 'traces').iterdir()
    return {path: path.stat().st_mtime_ns for path in entries}

  first = curves(tree, tmp_path / 'first')
  entries = kept()
  assert entries
  assert curves(tree, tmp_path / 'again').equals(first)
  assert kept() == entries  # none was made again
  edit(config, 'tanh', 'relu')
  shutil.copystat(before, config)  # so that its values alone tell
  assert not curves(tree, tmp_path / 'other config').equals(first)
  shutil.copy2(before, config)
  strategy = tree / 'bn_jax' / 'strategies' / 'adaptive_grad_clip.py'
  edit(strategy, 'clip(clipping,', 'clip(1e-9 * clipping,')
  assert not curves(tree, tmp_path / 'edited').equals(first)
