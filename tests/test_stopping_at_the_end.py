"""A signal in the last moments of a run, which a study must not overhear."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from resuming import ended, fit, free_port

from bn_jax import hosts, records, stopping

pytestmark = pytest.mark.usefixtures('clouds')

# Both processes train two runs; one of them is told to stop when the last
# chunk of the first has been taken. Each says which runs it has ended.
TWO_RUNS = """import os, pathlib, signal, sys
import tiny
from bn_jax import cli, devices, train

def tell(steps, taken=True):
  if process == 1:
    signal.raise_signal(signal.SIGTERM)

def main(argv):
  train.load = lambda config: tiny.dataset()
  made = tiny.config(num_train_steps=20, log__eval_every=20)
  members = [tiny.member(seed) for seed in (0, 1)]
  for name in ('first', 'second'):
    train.fit(made, members, folder / name, progress=tell)

process, port, folder = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
devices.set_up(f'127.0.0.1:{port}', 2, process)
cli.run(main)
"""


def test_while_the_summary_is_written(tmp_path, monkeypatch, wanted):
  """Fault: no look at `requested` at the end of `_Loop.run`."""
  write = records.write_json

  def told(path, value):
    write(path, value)
    if path.name == 'summary.json':
      signal.raise_signal(signal.SIGTERM)

  with monkeypatch.context() as patch:
    patch.setattr(records, 'write_json', told)
    with pytest.raises(stopping.Stopped, match='after its last step') as stop:
      fit(tmp_path)
  assert stop.value.code == stopping.RESUME_ME
  fit(tmp_path)
  assert ended(tmp_path) == wanted


def test_one_of_two_processes_is_told_in_the_last_chunk(tmp_path):
  """Fault: `stopping.requested()` for the vote at the end of `_Loop.run`."""
  environment = {
    **os.environ,
    'JAX_NUM_CPU_DEVICES': '1',
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': os.pathsep.join(['tests', os.environ.get('PYTHONPATH', '')]),
  }
  port = free_port()
  both = [
    subprocess.Popen(
      [sys.executable, '-c', TWO_RUNS, str(i), str(port), str(tmp_path)],
      env=environment,
      stderr=subprocess.PIPE,
      text=True,
    )
    for i in (0, 1)
  ]
  said = [process.communicate(timeout=200)[1] for process in both]
  assert [process.returncode for process in both] == [75, 75], said
  for text in said:
    assert 'stopped after its last step' in text
  assert (tmp_path / 'first/summary.json').exists()
  assert not (tmp_path / 'second').exists()


def test_a_thread_does_not_clear_what_the_main_thread_was_told():
  """Fault: `_asked.clear()` in every thread."""
  begun, go_on = threading.Event(), threading.Event()

  def other():
    with stopping.deferred():
      begun.set()
      go_on.wait(10)

  thread = threading.Thread(target=other)
  with stopping.deferred():
    thread.start()
    begun.wait(10)
    signal.raise_signal(signal.SIGTERM)
    go_on.set()
    thread.join()
    with pytest.raises(stopping.Stopped):
      hosts.give_way()
  assert not stopping.requested()
