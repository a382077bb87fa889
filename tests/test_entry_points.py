"""What a person types: each command answers, runs a few steps, ends well.

Planted and seen: a heavy import before `--help`, a report that is not written,
a config for strategies that its model cannot have.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from bn_jax import config as config_lib
from bn_jax import results, step
from bn_jax.study import Study

ROOT = pathlib.Path(__file__).parent.parent
COMMANDS = sorted(
  p.stem for p in (ROOT / 'experiments').glob('*.py') if p.stem != '__init__'
)
CONFIGS = sorted(p.name for p in (ROOT / 'configs').glob('*.py'))
SMALL = (
  '--config.num_train_steps=20',
  '--config.log.every=10',
  '--config.log.eval_every=20',
  '--config.model.depth=2',
  '--config.model.width=4',
  '--config.data.limit=200',
)


def run(*words):
  """A command's exit code, output and errors."""
  cache = jax.config.jax_compilation_cache_dir
  done = subprocess.run(
    [sys.executable, '-m', *map(str, words)],
    cwd=ROOT,
    env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': cache},
    capture_output=True,
    text=True,
    timeout=900,
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize('name', COMMANDS)
def test_help_is_an_answer_with_an_example(name):
  code, out, err = run(f'experiments.{name}', '--help')
  assert (code, err) == (0, '')
  assert f'python -m experiments.{name} ' in out


def test_train_records_what_it_did(tmp_path):
  config = '--config=configs/mnist1d_mlp.py:batch_norm+adaptive_grad_clip'
  workdir = tmp_path / 'run'
  words = ('experiments.train', config, f'--workdir={workdir}', *SMALL)
  code, out, err = run(*words, '--config.optimizer.learning_rate=0.3')
  assert code == 0, err
  assert 'test accuracy' in out.splitlines()[-1]
  table = results.load(workdir)
  assert table.step.unique().tolist() == [0, 10, 20]
  assert table.learning_rate.unique().tolist() == [0.3]
  assert table.strategy.unique().tolist() == ['batch_norm+adaptive_grad_clip']


def test_compare_ends_with_a_table_and_a_page(tmp_path):
  workdir = tmp_path / 'study'
  code, out, err = run(
    'experiments.compare',
    '--config=configs/mnist1d_mlp.py',
    f'--workdir={workdir}',
    '--strategies=none,renormalize',
    '--trials=2',
    '--seeds=2',
    *SMALL,
  )
  assert code == 0, err
  page = pathlib.Path(out.splitlines()[-1].removeprefix('report: '))
  assert page.is_file() and '<html' in page.read_text()
  assert 'renormalize' in out
  table = results.load(workdir)
  assert sorted(table.phase.unique()) == ['final', 'tune']
  final = table[(table.phase == 'final') & (table.step == 20)]
  assert final.groupby('strategy').seed.nunique().to_dict() == {
    'none': 2,
    'renormalize': 2,
  }
  assert final['test/accuracy'].notna().all()
  assert 'time' in out and (workdir / 'times.json').exists()
  code, out, err = run('experiments.compare', f'--reproduce={workdir}')
  assert code == 0, err
  said = out.splitlines()[-1]
  assert said.startswith('the studies agree: all ') and 'are equal' in said
  curves = workdir / 'runs' / 'tune-none' / 'curves.jsonl'
  curves.write_text(curves.read_text().replace('"train/loss": [[', '"x": [['))
  code, out, _ = run('experiments.compare', f'--reproduce={workdir}')
  assert code == 1
  assert 'do not agree' in out.splitlines()[-1]


def module(name):
  spec = importlib.util.spec_from_file_location(
    'config', ROOT / 'configs' / name
  )
  found = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(found)
  return found


def shape_of(name):
  """Of an example of a set, which need not be here."""
  shapes = {'mnist1d': (40,), 'cifar10': (32, 32, 3)}
  return shapes.get(name, (28, 28, 1))


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_builds(name, tmp_path):
  """configs/*.py, with every strategy that each one compares."""
  made = module(name)
  study = Study(made.get_config, made.sweep(), tmp_path)
  assert len(study.cases) > 1
  for case in study.cases:
    config = case.config
    config_lib.validate(config)
    shape = shape_of(config.data.name)
    channels = np.ones(shape[-1] if len(shape) == 3 else 1, np.float32)
    spec = step.Spec(shape, np.uint8, 10, 0 * channels, channels)
    program = step.build(config.to_dict(), spec)
    batch = {
      'image': jax.ShapeDtypeStruct((config.batch_size, *shape), np.uint8),
      'label': jax.ShapeDtypeStruct((config.batch_size,), np.int32),
    }
    state = jax.eval_shape(program.initialize, np.uint32(0), {}, batch)
    new, metrics = jax.eval_shape(program.train_step, state, batch)
    assert jax.tree.leaves(new) == jax.tree.leaves(state)
    assert 'train/loss' in metrics
