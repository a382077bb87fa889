"""Several processes as one run."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from resuming import free_port

from bn_jax import devices
from bn_jax.errors import UserError
from bn_jax.watch import DONE, Watch

FLAGS = (
  '--config=configs/mnist1d_mlp.py:batch_norm',
  '--config.log.every=10',
  '--config.log.eval_every=20',
  '--config.model.depth=1',
  '--config.model.width=4',
  '--config.data.limit=200',
  '--config.mesh.data=2',
)


def start(workdir, cores, *words):
  environment = {
    **os.environ,
    'JAX_NUM_CPU_DEVICES': str(cores),
    'JAX_PLATFORMS': 'cpu',
    'XDG_CACHE_HOME': str(workdir.parent),
  }
  command = [sys.executable, '-m', 'experiments.train', *FLAGS, *words]
  return subprocess.Popen(
    [*command, f'--workdir={workdir}'],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def start_two(workdir, *words):
  words = (*words, f'--coordinator=127.0.0.1:{free_port()}')
  words = (*words, '--num-processes=2')
  return [start(workdir, 1, *words, f'--process-id={i}') for i in (0, 1)]


def curves(workdir):
  found = {}
  for line in (workdir / 'curves.jsonl').read_text().splitlines():
    line = json.loads(line)
    for name, values in line['metrics'].items():
      found.setdefault(name, []).append((line['step'], np.array(values)))
  return found


@pytest.mark.parametrize('in_memory', [True, False])
def test_two_processes_equal_one(tmp_path, in_memory):
  """Whether they hold the set, or each of them reads its rows alone.

  Fault: both processes with the first half of each batch.
  """
  if not in_memory:
    pytest.importorskip('grain')
  steps = '--config.num_train_steps=40'
  words = (steps, f'--config.data.in_memory={in_memory}')
  two = start_two(tmp_path / 'two', *words, '--config.checkpoint.seconds=0')
  said = [process.communicate(timeout=300)[0] for process in two]
  assert [process.returncode for process in two] == [0, 0], said
  one = start(tmp_path / 'one', 2, steps)
  said = one.communicate(timeout=300)[0]
  assert one.returncode == 0, said
  found, wanted = curves(tmp_path / 'two'), curves(tmp_path / 'one')
  assert found.keys() == wanted.keys()
  for name, rows in wanted.items():
    for (at, x), (step, y) in zip(found[name], rows, strict=True):
      assert at == step
      np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6, err_msg=name)
  assert not list(tmp_path.glob('two/*.partial'))
  assert (tmp_path / 'two' / 'checkpoints' / '40').is_dir()


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_a_lost_process_ends_the_others_and_the_run_resumes(tmp_path, victim):
  """Fault: a `run` without the watch hangs in the shutdown, and aborts."""
  words = ('--config.num_train_steps=4000', '--config.checkpoint.seconds=0')
  both = start_two(tmp_path / 'run', *words)
  lost, left = both[victim], both[1 - victim]
  checkpoints = pathlib.Path(tmp_path / 'run' / 'checkpoints')
  deadline = time.monotonic() + 200
  while not checkpoints.is_dir() or not list(checkpoints.glob('[0-9]*')):
    assert time.monotonic() < deadline
    time.sleep(0.1)
  lost.kill()
  said = left.communicate(timeout=devices.LOST_SECONDS + 60)[0]
  lost.communicate()
  assert left.returncode == 75, said
  assert 'was lost' in said.splitlines()[-1]
  assert 'Traceback' not in said
  one = start(tmp_path / 'run', 2, *words)
  said = one.communicate(timeout=500)[0]
  assert one.returncode == 0, said
  assert not said.splitlines()[1].startswith(' 0.0%')


def test_who_does_not_count_is_lost():
  watch = Watch(10)
  assert watch.lost({'0': '1', '1': '1'}, 0) == []
  assert watch.lost({'0': '2', '1': '1'}, 9) == []
  assert watch.lost({'0': '3', '1': '1'}, 10.5) == ['1']
  assert watch.lost({'0': '3', '1': '2'}, 11) == []
  assert watch.lost({'0': DONE, '1': '2'}, 12) == []
  assert watch.lost({'0': DONE, '1': '2'}, 30) == ['1']


@pytest.mark.parametrize(
  'given, says',
  [
    (('a:1', None, None), '--num-processes and --process-id missing'),
    ((None, 2, 0), '--coordinator missing'),
    (('a:1', 0, 0), '--num-processes: 0; at least 1'),
    (('a:1', 2, 2), '--process-id: 2; 0 to 1 are allowed'),
    (('a:1', 2, -1), '--process-id: -1; 0 to 1'),
    (('a', 2, 0), "--coordinator: 'a'; must be HOST:PORT"),
  ],
)
def test_flags_that_do_not_go_together(given, says):
  with pytest.raises(UserError, match=says):
    devices.check(*given)


@pytest.mark.parametrize(
  'environment, several',
  [
    ({}, False),
    ({'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '4'}, False),  # salloc, no srun
    ({'SLURM_STEP_NUM_TASKS': '1'}, False),
    ({'SLURM_STEP_NUM_TASKS': '4'}, True),
    ({'TPU_WORKER_HOSTNAMES': 'a'}, False),
    ({'TPU_WORKER_HOSTNAMES': 'a,b'}, True),
  ],
)
def test_a_cluster_is_found(environment, several, monkeypatch):
  for name in ('SLURM_STEP_NUM_TASKS', 'TPU_WORKER_HOSTNAMES'):
    monkeypatch.delenv(name, raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  assert devices.in_cluster() is several
