"""SIGTERM is no mistake of the user's, wherever it comes; it is heeded soon."""

import os
import signal
import subprocess
import sys
import threading

import jax.numpy as jnp
import pytest

from bn_jax import hosts, stopping
from bn_jax.data import tfds_sets

CONFIG = """import signal
signal.raise_signal(signal.SIGTERM)
"""
LEAVING = """import atexit, sys, types
from bn_jax import cli, stopping

def main(argv):
  atexit.register(print, 'a regular end')
  print('before')
  raise {}

cli.run(main)
"""


def ended(*words, **pipes):
  environment = {k: v for k, v in os.environ.items() if k != 'PYTHONUNBUFFERED'}
  pipes = pipes or {'capture_output': True, 'text': True}
  return subprocess.run([sys.executable, *words], env=environment, **pipes)


def test_while_a_config_file_is_read(tmp_path):
  path, workdir = tmp_path / 'config.py', tmp_path / 'run'
  path.write_text(CONFIG)
  words = (f'--config={path}', f'--workdir={workdir}')
  end = ended('-m', 'experiments.train', *words)
  assert end.returncode == stopping.RESUME_ME
  assert end.stderr.startswith('stopped')
  assert not workdir.exists()


@pytest.mark.parametrize(
  'error, code, said',
  [
    ("stopping.Stopped('stopped here')", 75, 'stopped here'),
    ('KeyboardInterrupt', 130, 'interrupted; the same command goes on'),
  ],
)
def test_a_command_leaves_without_a_regular_end(error, code, said):
  """JAX's part of that waits until what the devices compute has ended.

  Fault: `sys.exit` for `os._exit` in `cli._leave`; nothing flushed there.
  """
  end = ended('-c', LEAVING.format(error))
  assert (end.returncode, end.stdout) == (code, 'before\n')
  assert end.stderr.startswith(said)


@pytest.mark.parametrize(
  'jax', ['import jax', "sys.modules['jax'] = types.ModuleType('jax')"]
)
def test_a_command_leaves_before_jax_is_awake(jax, monkeypatch):
  """While it looks for devices that are not there; while it is imported.

  Fault: `process_count` for `is_initialized` in `cli._several`.
  """
  monkeypatch.setenv('JAX_PLATFORMS', 'nothing')
  end = ended('-c', f'{LEAVING.format("KeyboardInterrupt")}'.replace(
    "print('before')", jax
  ))  # fmt: skip
  assert (end.returncode, end.stdout) == (stopping.INTERRUPTED, '')
  assert end.stderr.count('\n') == 1


def test_a_command_leaves_where_nobody_reads_what_it_says():
  """As after Ctrl-C, which ends the `tee` of a pipe as well.

  Fault: no `suppress` in `cli._leave`.
  """
  read, write = os.pipe()
  os.close(read)
  program = LEAVING.format('KeyboardInterrupt')
  end = ended('-c', program, stdout=write, stderr=write)
  os.close(write)
  assert end.returncode == 130


class Computing:
  """Stands for an array that is there once `over` is set; then it may fail."""

  def __init__(self, error=None):
    self.over, self.error = threading.Event(), error

  def is_ready(self):
    return self.over.is_set()

  def block_until_ready(self):
    self.over.wait(60)
    if self.error:
      raise self.error


def after(seconds, function, *arguments):
  threading.Timer(seconds, function, arguments).start()


def test_while_the_devices_compute():
  """Fault: `ready.wait()` without a time in `hosts.wait`."""
  loss = Computing()
  with stopping.deferred():
    after(0.2, signal.raise_signal, signal.SIGTERM)
    with pytest.raises(stopping.Stopped):
      hosts.wait({'loss': loss})
  assert not loss.is_ready()
  loss.over.set()


@pytest.mark.parametrize('error', [None, ValueError('who fetches it is told')])
def test_nobody_asks_to_stop(error):
  """Fault: a `hosts.wait` that ends at once; no `suppress` in it."""
  loss = Computing(error)
  after(0.2, loss.over.set)
  hosts.wait([jnp.ones(3), loss, None, 3.0])
  assert loss.is_ready()


def test_while_a_set_is_looked_for(monkeypatch):
  def builder(*args, **kwargs):
    raise stopping.Stopped('stopped')

  monkeypatch.setattr(
    'tensorflow_datasets.core.read_only_builder.builder_from_files', builder
  )
  with pytest.raises(stopping.Stopped):
    tfds_sets._builder('mnist', '')
