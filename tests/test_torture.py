"""A comparison that is killed at random moments, again and again."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from bn_jax import results

KILLS = 20
COMMAND = (
  sys.executable,
  '-m',
  'experiments.compare',
  '--config=configs/mnist1d_mlp.py',
  '--strategies=none,batch_norm',
  '--trials=2',
  '--seeds=2',
  '--config.num_train_steps=400',
  '--config.log.every=10',
  '--config.log.eval_every=20',
  '--config.model.depth=1',
  '--config.model.width=4',
  '--config.data.limit=200',
  '--config.checkpoint.seconds=0',
)


def start(workdir, cache):
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XDG_CACHE_HOME': str(cache),
  }
  return subprocess.Popen(
    [*COMMAND, f'--workdir={workdir}'],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def size_of(workdir):
  """Grows with whatever is written: it tells when a process has begun."""
  return sum(p.stat().st_mtime_ns for p in workdir.glob('runs/*/curves.jsonl'))


def everything(workdir):
  """What a comparison leaves, but for how long it took."""
  left = {'choice': (workdir / 'choice.json').read_bytes()}
  for run in sorted((workdir / 'runs').iterdir()):
    summary = json.loads((run / 'summary.json').read_text())
    for name in ('seconds', 'steps_per_second'):
      summary.pop(name)
    left[run.name] = (run / 'curves.jsonl').read_bytes(), summary
  return left


@pytest.mark.slow
def test_a_comparison_survives_being_killed(tmp_path):
  """Fault: `rewind` that keeps the curves after the checkpoint."""
  chance, cache = random.Random(0), tmp_path / 'cache'
  calm = start(tmp_path / 'calm', cache)
  said = calm.communicate(timeout=600)[0]
  assert calm.returncode == 0, said
  kills, workdir = 0, tmp_path / 'killed'
  while True:
    before = size_of(workdir) if workdir.exists() else 0
    process = start(workdir, cache)
    while process.poll() is None and kills < 2 * KILLS:
      now = size_of(workdir) if workdir.exists() else 0
      if now != before:  # it trains: kill it a little later
        time.sleep(chance.uniform(0, 0.5 if kills < KILLS else 4))
        process.send_signal(
          signal.SIGTERM if chance.random() < 0.2 else signal.SIGKILL
        )
        break
      time.sleep(0.002)
    said = process.communicate(timeout=600)[0]
    if process.returncode == 0:
      break
    assert process.returncode in (75, -signal.SIGKILL), said
    kills += 1
  assert kills >= KILLS
  assert everything(workdir) == everything(tmp_path / 'calm')
  table = results.load(workdir)
  assert not table.duplicated(['run', 'member', 'step']).any()
  assert not list(workdir.rglob('*.partial'))
