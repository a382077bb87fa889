"""SIGKILL while orbax writes a checkpoint, between its first and last byte.

Planted and seen: a resume that does not rewind the curves.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
# A program that kills itself at a moment of the writing of checkpoint 20.
PROGRAM = """
import os, signal, sys
left = int(sys.argv.pop(1))

def hook(event, args):
  global left
  if event in ('os.mkdir', 'open', 'os.rename') and any(
    '20.orbax-checkpoint-tmp' in str(a) for a in args
  ):
    left -= 1
    last = event == 'os.rename' and str(args[1]).endswith('/20')
    if left == 0 or left < 0 and last:
      os.kill(os.getpid(), signal.SIGKILL)

if left:
  sys.addaudithook(hook)
from bn_jax import cli
from experiments import train
cli.run(train.main)
"""
FIRST, MIDDLE, LAST, NEVER = 1, 9, -1, 0


def run(moment, workdir):
  """Trains 40 steps with a checkpoint each 10; returns the exit code."""
  words = (
    '--config=configs/mnist1d_mlp.py:batch_norm',
    f'--workdir={workdir}',
    '--config.num_train_steps=40',
    '--config.log.every=10',
    '--config.log.eval_every=10',
    '--config.checkpoint.seconds=0',
    '--config.model.depth=1',
    '--config.model.width=4',
    '--config.data.limit=200',
  )
  cache = jax.config.jax_compilation_cache_dir
  return subprocess.run(
    [sys.executable, '-c', PROGRAM, str(moment), *words],
    cwd=ROOT,
    env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': cache},
    stdout=subprocess.DEVNULL,
    timeout=600,
  ).returncode


def ended(workdir):
  """The curves, and a summary without how long it took."""
  summary = json.loads((workdir / 'summary.json').read_text())
  for name in ('seconds', 'steps_per_second'):
    summary.pop(name)
  return (workdir / 'curves.jsonl').read_bytes(), summary


@pytest.mark.skipif(sys.platform == 'win32', reason='signals')
def test_the_run_goes_on_from_the_checkpoint_before(tmp_path):
  assert run(NEVER, tmp_path / 'whole') == 0
  killed = tmp_path / 'killed'
  for moment in (FIRST, MIDDLE, LAST):
    assert run(moment, killed) == -signal.SIGKILL
    there = {p.name for p in (killed / 'checkpoints').iterdir()}
    assert '10' in there and '20' not in there
    assert '20.orbax-checkpoint-tmp' in there or moment == FIRST
  assert run(NEVER, killed) == 0
  assert ended(killed) == ended(tmp_path / 'whole')
