"""A disk that is full ends a run in one line, and nothing is lost."""

import errno
import itertools
import os
import resource
import signal
import subprocess

import pytest
from resuming import CURVES, ended, fit, stopped_at

from bn_jax import records
from bn_jax.errors import UserError

pytestmark = pytest.mark.usefixtures('clouds')


def test_a_disk_that_fills_up_ends_the_run_in_one_line(
  tmp_path, monkeypatch, wanted
):
  """Fault: `append` outside of `written`."""
  writes = itertools.count(7, -1)
  sync = os.fsync

  def full(file):
    if next(writes) <= 0:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    sync(file)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(records.os, 'fsync', full)
    with pytest.raises(UserError) as error:
      fit(tmp_path)
  message = str(error.value)
  assert 'cannot be written: No space left on device' in message
  assert '\n' not in message
  fit(tmp_path)
  assert ended(tmp_path) == wanted


def test_a_file_that_may_not_grow_ends_the_run_in_one_line(tmp_path, wanted):
  """The real thing, a limit on a file's size, for curves and checkpoints."""
  stopped_at(tmp_path, 3)
  size = (tmp_path / CURVES).stat().st_size
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
  try:
    with pytest.raises(UserError, match=r'cannot be written.*too large'):
      fit(tmp_path, checkpoint__seconds=0.0)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)
  fit(tmp_path)
  assert ended(tmp_path) == wanted


@pytest.fixture
def small_disk(tmp_path):
  """A disk of its own; calling it with a size in KiB makes it that large."""
  folder = tmp_path / 'disk'
  folder.mkdir()

  def sized(kib, how='remount,'):
    command = ['mount', '-t', 'tmpfs', '-o', f'{how}size={kib}k', 'tmpfs']
    try:
      done = subprocess.run([*command, str(folder)], capture_output=True)
    except OSError:
      pytest.skip('there is no mount')
    if done.returncode:
      pytest.skip('this user may not mount')
    return folder

  yield lambda kib: sized(kib, 'remount,' if folder.is_mount() else '')
  if folder.is_mount():
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


@pytest.mark.parametrize('kib', [4, 16, 64, 128])
def test_a_disk_that_is_full_ends_the_run_in_one_line(small_disk, wanted, kib):
  """The real thing: full at the environment, the curves or a checkpoint.

  Fault: `Checkpoints` that lets OSError through.
  """
  path = small_disk(kib) / 'run'
  with pytest.raises(UserError) as error:
    fit(path)
  message = str(error.value)
  assert 'cannot be written' in message and 'No space left' in message
  assert '\n' not in message
  small_disk(64 * 1024)
  fit(path)
  assert ended(path) == wanted
