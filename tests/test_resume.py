"""A run that was stopped, in whatever way, ends as if it had not been."""

import itertools
import os
import shutil
import signal
import threading

import pytest
import tiny
from resuming import CURVES, MEMBERS, ended, fit, stop_after, stopped_at

from bn_jax import checkpoints, hosts, records, stopping, train
from bn_jax.errors import UserError

pytestmark = pytest.mark.usefixtures('clouds')


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


def test_a_second_signal_stops_at_once(monkeypatch):
  """Unless it is the first one told twice, as timeout(1) does."""
  now = [100.0]
  monkeypatch.setattr(stopping.time, 'monotonic', lambda: now[0])
  with stopping.deferred():
    for _ in range(3):
      signal.raise_signal(signal.SIGINT)
    assert stopping.requested()
    now[0] += 1.1
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


def test_a_line_is_said_by_the_first_process_alone(capsys, monkeypatch):
  monkeypatch.setattr(hosts, 'first', lambda: False)
  hosts.say('nothing')
  assert capsys.readouterr().err == ''
