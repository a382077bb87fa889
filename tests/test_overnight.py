"""A residual net on real images, killed in the middle and started again."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import tiny_sets

COMMAND = (
  sys.executable,
  '-m',
  'experiments.train',
  '--config=configs/cifar10_resnet.py:batch_norm',
  '--config.num_train_steps=48',
  '--config.batch_size=32',
  '--config.log.every=2',
  '--config.log.eval_every=8',
  '--config.data.limit=600',
  '--config.checkpoint.seconds=0',
)
SECONDS = 900  # until a run that does not move counts as lost


def set_of_images():
  """CIFAR-10, or where it is not at hand Fashion-MNIST, and its folder."""
  folder = tiny_sets.real_folder()
  for name in ('cifar10', 'fashion_mnist'):
    if os.path.isdir(os.path.join(folder, name)):
      return name, folder
  pytest.skip(f'{folder} has neither cifar10 nor fashion_mnist')


def start(workdir, words, cache):
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': '1',
    'XDG_CACHE_HOME': str(cache),
  }
  return subprocess.Popen(
    [*COMMAND, *words, f'--workdir={workdir}'],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def ended(workdir):
  """The curves, line by line, and a summary without how long it took."""
  summary = json.loads((workdir / 'summary.json').read_text())
  for name in ('seconds', 'steps_per_second'):
    summary.pop(name)
  return (workdir / 'curves.jsonl').read_text().splitlines(), summary


def finish(workdir, words, cache):
  process = start(workdir, words, cache)
  said = process.communicate(timeout=SECONDS)[0]
  assert process.returncode == 0, said
  return said


@pytest.mark.slow
@pytest.mark.parametrize('in_memory', [True, False])
def test_a_resnet_that_is_killed_goes_on_to_the_same_curve(tmp_path, in_memory):
  """SIGKILL at a random moment after a checkpoint; value for value.

  Fault: a stream, an augmentation or a schedule that starts at 0 again.
  """
  if not in_memory:
    pytest.importorskip('grain')
  name, folder = set_of_images()
  words = (f'--config.data.name={name}', f'--config.data.data_dir={folder}')
  words += (f'--config.data.in_memory={in_memory}',)
  cache, killed = tmp_path / 'cache', tmp_path / 'killed'
  process = start(killed, words, cache)
  checkpoints, deadline = killed / 'checkpoints', time.monotonic() + SECONDS
  chance = random.Random(time.time_ns())
  first = chance.choice([8, 16, 24, 32])
  while all(int(p.name) < first for p in checkpoints.glob('[0-9]*[0-9]')):
    assert process.poll() is None, process.communicate()[0]
    assert time.monotonic() < deadline
    time.sleep(0.05)
  time.sleep(chance.uniform(0, 1))
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert not (killed / 'summary.json').exists()
  said = finish(killed, words, cache)
  assert not said.splitlines()[1].startswith(' 0.0%'), said
  finish(tmp_path / 'calm', words, cache)
  (curves, summary), (wanted, about) = ended(killed), ended(tmp_path / 'calm')
  for a, b in zip(curves, wanted, strict=True):
    assert json.loads(a) == json.loads(b)
  assert summary == about and summary['steps'] == 48
