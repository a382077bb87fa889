"""What is traced is kept for the next command, and never used when stale.

Planted and seen: an entry whose sources are not looked at, one that is kept
although a source is of this moment, a key without `about`, the shapes or JAX's
settings, an entry read without its digest.
"""

import functools
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pages
import pytest
import tiny

import bn_jax
from bn_jax import devices, programs, results, step
from bn_jax.population import Population
from bn_jax.programs import Kept
from experiments import compare, train


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Where a command that starts now keeps what it traces."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', str(tmp_path))
  monkeypatch.setattr(programs, '_keeping', True)
  # As if a test session had not written any file that is imported.
  monkeypatch.setattr(bn_jax, 'STARTED', bn_jax.STARTED + 1e6)
  yield tmp_path / 'traces'
  jax.config.update('jax_compilation_cache_dir', before)


class Counted:
  """A function of trees that counts how often it is traced."""

  def __init__(self):
    self.traced = 0

  def __call__(self, tree, x):
    self.traced += 1
    return {'sum': tree['a'] + x, 'rest': (x * 2, None)}


A, X = {'a': jnp.arange(3.0)}, jnp.ones(3)


def times_traced(about='about', arguments=(A, X)):
  """Traces that another process would make."""
  function = Counted()
  found = Kept(function, about)(*arguments)
  wanted = Counted()(*arguments)
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  return function.traced


def test_what_was_traced_is_not_traced_again(folder):
  assert times_traced() > 0
  assert times_traced() == 0


def test_only_a_command_keeps(folder, monkeypatch):
  monkeypatch.setattr(programs, '_keeping', False)
  assert times_traced() == times_traced() == 1
  assert not folder.exists()


def test_another_program_is_another(folder):
  times_traced()
  assert times_traced('else') > 0
  assert times_traced(arguments=({'a': jnp.ones((2, 3))}, X)) > 0
  assert times_traced(arguments=({'a': jnp.arange(3)}, X)) > 0
  assert times_traced() == 0


def test_another_setting_of_jax_is_another(folder):
  times_traced()
  jax.config.update('jax_default_matmul_precision', 'float32')
  try:
    assert times_traced() > 0
  finally:
    jax.config.update('jax_default_matmul_precision', None)
  assert times_traced() == 0


@pytest.fixture
def module(tmp_path, monkeypatch):
  """The file of an imported module of the user's own."""
  path = tmp_path / 'own_strategy_of_a_test.py'
  path.write_text('FACTOR = 1\n')
  monkeypatch.syspath_prepend(tmp_path)
  importlib.import_module(path.stem)
  yield path
  del sys.modules[path.stem]


def test_an_edited_source_is_traced_anew(folder, module):
  assert times_traced() > 0
  assert times_traced() == 0
  module.write_text('FACTOR = 2\n')  # as long as before
  assert times_traced() > 0
  assert times_traced() == 0


def test_a_source_from_another_folder_is_traced_anew(folder, module):
  times_traced()
  shutil.copy2(module, module.with_suffix('.copy'))
  sys.modules[module.stem].__file__ = str(module.with_suffix('.copy'))
  assert times_traced() > 0


def test_a_missing_source_is_traced_anew(folder, module):
  times_traced()
  module.unlink()
  assert times_traced() > 0


def test_what_may_have_changed_since_it_was_imported_is_not_kept(
  folder, module, monkeypatch
):
  edited = os.stat(module).st_mtime
  monkeypatch.setattr(bn_jax, 'STARTED', edited + 1)
  times_traced()
  assert not folder.exists()
  os.utime(module, (edited - 100, edited - 100))  # as cp -p leaves it
  times_traced()
  assert not folder.exists()
  monkeypatch.setattr(bn_jax, 'STARTED', edited + 3)
  times_traced()
  assert len(list(folder.iterdir())) == 1


def test_a_damaged_file_is_traced_anew(folder):
  times_traced()
  (path,) = folder.iterdir()
  whole = path.read_bytes()
  damaged = [b'', whole[:10], whole[:-1], whole[:-1] + b'x', b'x' + whole[1:]]
  for data in damaged:
    path.write_bytes(data)
    assert times_traced() > 0
    assert path.read_bytes() != data
  assert times_traced() == 0


def test_a_folder_that_takes_nothing_costs_nothing_else(folder):
  folder.write_text('in the way')
  assert times_traced() > 0
  assert times_traced() > 0


def test_nothing_but_the_entry_is_left(folder, monkeypatch):
  def fail(*_):
    raise OSError('no space')

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, 'replace', fail)
    times_traced()
  assert not list(folder.iterdir())
  times_traced()
  (path,) = folder.iterdir()
  assert len(path.name) == 64


def test_what_calls_back_into_python_is_not_kept(folder):
  seen = []

  def function(x):
    jax.debug.callback(seen.append, x)
    return x + 1

  assert Kept(function, 'callback')(1 * X)[0] == 2
  jax.effects_barrier()
  assert len(seen) == 1
  assert not folder.exists()


def test_what_cannot_be_pickled_is_not_kept(folder):
  class Mine(NamedTuple):
    x: jax.Array

  assert Kept(Mine, 'local')(X).x is not None
  assert not folder.exists()


@pytest.mark.parametrize(
  'name, value',
  [
    ('jax_enable_compilation_cache', False),
    ('jax_debug_nans', True),
    ('jax_debug_infs', True),
  ],
)
def test_nothing_is_kept_where_jax_is_told_so(folder, name, value):
  before = getattr(jax.config, name)
  jax.config.update(name, value)
  try:
    times_traced()
  finally:
    jax.config.update(name, before)
  assert not folder.exists()


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


def test_an_error_of_the_function_is_its_own(folder):
  def function(x):
    raise ValueError('mine')

  with pytest.raises(ValueError, match='mine'):
    Kept(function, 'error')(X)


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
  dataset, folder, monkeypatch, chained
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


def test_a_command_sees_an_edited_strategy(tmp_path):
  """As a user would: train, edit, train."""
  tree = tmp_path / 'tree'
  for name in ('bn_jax', 'configs', 'experiments'):
    shutil.copytree(pages.ROOT / name, tree / name)
  file = tree / 'bn_jax' / 'strategies' / 'adaptive_grad_clip.py'
  time.sleep(programs.MARGIN_SECONDS + 1)

  def curves(name):
    words = '--config=configs/mnist1d_mlp.py:adaptive_grad_clip'
    small = '--config.num_train_steps=10 --config.log.every=5 '
    small += '--config.log.eval_every=10 --config.model.width=4'
    run = [sys.executable, '-m', 'experiments.train', words, *small.split()]
    subprocess.run(
      [*run, f'--workdir={tmp_path / name}'],
      cwd=tree,
      env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': str(tmp_path / 'xla')},
      check=True,
      timeout=300,
    )
    return results.load(tmp_path / name)['train/loss']

  def kept():
    entries = (tmp_path / 'xla' / 'traces').iterdir()
    return {path: path.stat().st_mtime_ns for path in entries}

  first = curves('first')
  entries = kept()
  assert entries
  assert curves('again').equals(first)
  assert kept() == entries  # none was made again
  text = file.read_text()
  assert text.count('clip(clipping,') == 1
  file.write_text(text.replace('clip(clipping,', 'clip(1e-9 * clipping,'))
  assert not curves('edited').equals(first)
