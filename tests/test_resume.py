"""A run that was stopped, in whatever way, ends as if it had not been."""

import errno
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import threading

import pytest
import tiny

from bn_jax import checkpoints, hosts, records, stopping, train
from bn_jax.errors import UserError

MEMBERS = [tiny.member(s, optimizer__learning_rate=0.1) for s in (0, 1)]
STEPS, CHUNK = 40, 10
CURVES = 'curves.jsonl'


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch, num_devices):
  monkeypatch.setattr(train, 'load', lambda config: tiny.dataset())
  num_devices(2)


def fit(path, chained=('batch_norm',), members=MEMBERS, **fields):
  small = {'num_train_steps': STEPS, 'model__width': 4, 'model__depth': 1}
  fields = {**small, 'checkpoint__seconds': 0.0, **fields}
  return train.fit(tiny.config(chained, **fields), members, path, test=True)


def ended(path):
  """Everything that must not depend on what happened on the way."""
  summary = json.loads((path / 'summary.json').read_text())
  for name in ('seconds', 'steps_per_second'):
    summary.pop(name)
  return (path / CURVES).read_bytes(), summary


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  """Made by the first test that asks, with the patches of that test."""
  return tmp_path_factory.mktemp('undisturbed')


@pytest.fixture
def wanted(undisturbed):
  if not (undisturbed / 'summary.json').exists():
    fit(undisturbed)
  return ended(undisturbed)


class Killed(BaseException):
  """Stands for SIGKILL: nothing in the code may catch it."""


def kill_at(monkeypatch, moment):
  """Kills the process at the n-th of the moments when a file changes."""
  left = itertools.count(moment, -1)

  def before(function):
    def call(*args, **kwargs):
      if next(left) == 0:
        if function is fsync:  # what was written is torn
          size = os.fstat(args[0]).st_size
          os.truncate(args[0], size - 1 - size % 7)
        raise Killed
      return function(*args, **kwargs)

    return call

  fsync = os.fsync
  monkeypatch.setattr(records.os, 'fsync', before(os.fsync))
  monkeypatch.setattr(records.os, 'replace', before(os.replace))
  saves = checkpoints.Checkpoints
  monkeypatch.setattr(saves, 'save', before(saves.save))
  monkeypatch.setattr(saves, 'wait', before(saves.wait))


def test_a_run_killed_at_every_write_ends_as_if_undisturbed(tmp_path, wanted):
  """Fault: `Workdir.rewind` that leaves the file as it is."""
  for moment in itertools.count(1, 2):
    with pytest.MonkeyPatch.context() as patch:
      kill_at(patch, moment)
      try:
        fit(tmp_path)
        break
      except Killed:
        continue
  assert moment > 10
  assert ended(tmp_path) == wanted


def stop_after(monkeypatch, chunks, number=signal.SIGTERM):
  """Sends the process a signal while it takes its n-th chunk of steps."""
  left = itertools.count(chunks, -1)
  population = train.Rounds
  take = population.train

  def call(*args):
    if next(left) == 1:
      signal.raise_signal(number)
    return take(*args)

  monkeypatch.setattr(population, 'train', call)


@pytest.mark.parametrize(
  'number, code', [(signal.SIGTERM, 75), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_run_with_a_checkpoint(
  tmp_path, monkeypatch, wanted, number, code
):
  """Fault: `_Loop.stopped` that saves nothing."""
  with pytest.MonkeyPatch.context() as patch:
    stop_after(patch, 3, number)
    with pytest.raises(stopping.Stopped, match='at step 20 of 40') as stop:
      fit(tmp_path, checkpoint__seconds=1e6)
  assert stop.value.code == code
  assert sorted(p.name for p in (tmp_path / 'checkpoints').iterdir()) == ['20']
  assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  taken = []
  take = train.Rounds.train
  monkeypatch.setattr(
    train.Rounds, 'train', lambda *a: taken.append(a[2]) or take(*a)
  )
  fit(tmp_path, checkpoint__seconds=1e6)
  assert taken == [20, 30]
  assert ended(tmp_path) == wanted


def test_a_signal_before_the_first_step_leaves_no_checkpoint(tmp_path):
  with pytest.MonkeyPatch.context() as patch:
    stop_after(patch, 1)
    with pytest.raises(stopping.Stopped, match='at step 0 of 40'):
      fit(tmp_path)
  assert not (tmp_path / 'checkpoints').exists()


def test_a_second_signal_stops_at_once():
  with stopping.deferred():
    signal.raise_signal(signal.SIGINT)
    assert stopping.requested()
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert not stopping.requested()


def test_signals_are_left_alone_outside_of_the_main_thread():
  seen = []

  def other():
    with stopping.deferred():
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=other)
  thread.start()
  thread.join()
  assert seen == [signal.SIG_DFL]


def stopped_at(path, chunks=4, **fields):
  """A run that stands still after some chunks, with its checkpoints."""
  with pytest.MonkeyPatch.context() as patch:
    stop_after(patch, chunks)
    with pytest.raises(stopping.Stopped):
      fit(path, **fields)
  return sorted(p.name for p in (path / 'checkpoints').iterdir())


def largest_file(folder):
  files = [p for p in folder.rglob('*') if p.is_file()]
  return max(files, key=lambda p: p.stat().st_size)


def truncate_arrays(folder):
  file = largest_file(folder / 'state')
  os.truncate(file, file.stat().st_size // 2)


def remove_about(folder):
  shutil.rmtree(folder / 'about')


def flip_a_number(folder):
  about = folder / 'about' / 'metadata'
  text = about.read_text()
  name = '"checksum": '
  start = text.rindex(name) + len(name)
  digit = '1' if text[start] != '1' else '2'
  about.write_text(text[:start] + digit + text[start + 1 :])


@pytest.mark.parametrize(
  'damage', [truncate_arrays, remove_about, flip_a_number]
)
def test_the_checkpoint_before_a_damaged_one_is_used(
  tmp_path, capsys, wanted, damage
):
  """Fault: `_find` that lets `Damaged` through; no checksum."""
  assert stopped_at(tmp_path) == ['20', '30']
  damage(tmp_path / 'checkpoints' / '30')
  capsys.readouterr()
  fit(tmp_path)
  said = [x for x in capsys.readouterr().err.splitlines() if 'bn_jax:' in x]
  assert len(said) == 1 and 'checkpoint 30 is damaged' in said[0]
  assert 'trying the checkpoint before it' in said[0]
  assert ended(tmp_path) == wanted


def test_a_run_without_a_whole_checkpoint_starts_again(
  tmp_path, capsys, wanted
):
  for step in stopped_at(tmp_path):
    truncate_arrays(tmp_path / 'checkpoints' / step)
  capsys.readouterr()
  fit(tmp_path)
  assert 'starting again from step 0' in capsys.readouterr().err
  assert ended(tmp_path) == wanted


@pytest.mark.parametrize('where', [0.1, 0.95])
def test_corrupt_curves_cost_the_checkpoints_after_them(
  tmp_path, capsys, wanted, where
):
  """Fault: `Workdir.holds` that is always true."""
  stopped_at(tmp_path)
  path = tmp_path / CURVES
  data = bytearray(path.read_bytes())
  position = int(where * len(data))
  data[position] = ord('7') if data[position] != ord('7') else ord('8')
  path.write_bytes(data)
  capsys.readouterr()
  fit(tmp_path)
  assert 'the curves up to step 30 are damaged' in capsys.readouterr().err
  assert ended(tmp_path) == wanted


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
  stopped_at(tmp_path / 'a')
  stopped_at(tmp_path / 'b', model__width=5)
  shutil.rmtree(tmp_path / 'b' / 'checkpoints')
  shutil.copytree(tmp_path / 'a/checkpoints', tmp_path / 'b/checkpoints')
  shutil.copy(tmp_path / 'a' / CURVES, tmp_path / 'b')
  with pytest.raises(UserError) as error:
    fit(tmp_path / 'b', model__width=5)
  message = str(error.value)
  assert message.startswith('checkpoints: ') and '\n' not in message
  assert 'is of another model; ' in message
  assert 'float32[2, 4] there, float32[2, 5] here' in message


def test_the_newest_checkpoints_stay_and_the_best(tmp_path, monkeypatch):
  """Fault: a policy without `BestN`."""
  scores = iter([0.0, 0.2, 0.9, 0.3, 0.4])
  evaluate = train._Loop.evaluate
  monkeypatch.setattr(
    train._Loop, 'evaluate', lambda *a: (evaluate(*a), next(scores))[1]
  )
  fit(tmp_path, checkpoint__keep=1)
  found = sorted(p.name for p in (tmp_path / 'checkpoints').iterdir())
  assert found == ['20', '40']


def test_a_run_resumes_on_another_number_of_devices(
  tmp_path, num_devices, wanted
):
  """Fault: saving the state with its idle slots."""
  three = [*MEMBERS, tiny.member(5, optimizer__learning_rate=0.2)]
  fit(tmp_path / 'whole', members=three)
  stopped_at(tmp_path / 'run', members=three)
  num_devices(1)
  fit(tmp_path / 'run', members=three)
  assert ended(tmp_path / 'run') == ended(tmp_path / 'whole')


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


def test_a_line_is_said_by_the_first_process_alone(capsys, monkeypatch):
  monkeypatch.setattr(hosts, 'first', lambda: False)
  hosts.say('nothing')
  assert capsys.readouterr().err == ''
