import io
import itertools
import sys

import pytest

from bn_jax.data import progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """Each look at the clock is a second later."""
  seconds = itertools.count()
  monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(seconds)))


def run(monkeypatch, stderr, num):
  monkeypatch.setattr(sys, 'stderr', stderr)
  monkeypatch.setenv('TERM', 'xterm')
  items = list(progress.track(range(num), [10] * num, 'Decoding'))
  assert items == list(range(num))
  return stderr.getvalue()


def test_quick_work_draws_nothing(clock, monkeypatch):
  assert run(monkeypatch, Terminal(), 2) == ''


def test_slow_work_draws_a_bar_on_a_terminal(clock, monkeypatch):
  shown = run(monkeypatch, Terminal(), 5)
  assert 'Decoding' in shown and '50/50' in shown
  assert shown.endswith('\x1b[2K')  # wiped out when it is done


def test_slow_work_draws_nothing_elsewhere(clock, monkeypatch):
  assert run(monkeypatch, io.StringIO(), 5) == ''


def test_the_bar_goes_when_the_work_fails(clock, monkeypatch):
  stopped = []

  class Bar:
    def update(self, *_, **__):
      pass

    def stop(self):
      stopped.append(True)

  monkeypatch.setattr(progress, '_bar', lambda *_: Bar())

  def work():
    yield from range(4)
    raise ValueError('the disk is gone')

  with pytest.raises(ValueError, match='the disk is gone'):
    list(progress.track(work(), [1] * 5, 'Decoding'))
  assert stopped == [True]
