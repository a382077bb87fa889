"""The bar of long work: its rate, its lines, what was done before.

Planted and seen: steps of before that count into the rate, the first steps
too, a rate of the last seconds alone, a line for each call, no line for a
label, a time spent that begins anew.
"""

import io
import sys

import pytest

from bn_jax import progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands still until the test sets it."""
  now = [0.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  progress_of = progress.Progress
  monkeypatch.setattr(
    progress,
    'Progress',
    lambda *a, **k: progress_of(*a, get_time=lambda: now[0], **k),
  )
  return now


def lines(capsys):
  err = capsys.readouterr().err
  return [' '.join(line.split()) for line in err.splitlines()]


def test_the_rate_is_that_of_the_steps_taken_here(clock, capsys):
  """Not of those that a checkpoint brought, nor of those that compiled."""
  with progress.bar(1000) as advance:
    advance('training', 500, taken=False)
    for clock[0] in (60.0, 72.0, 84.0):
      advance('training', 60)
  assert lines(capsys) == [
    '50.0% training',
    '56.0% training',
    '62.0% training 5 run-steps/s 76 s left',
    '68.0% training 5 run-steps/s 64 s left',
  ]


def test_slow_chunks_have_a_rate(clock, capsys):
  with progress.bar(1000, 'planned seconds') as advance:
    for clock[0] in (0.0, 200.0, 400.0):
      advance('training', 100)
  assert lines(capsys)[-1] == (
    '30.0% training 0.5 planned seconds/s 1,400 s left'
  )


def test_steps_that_are_not_needed_leave_the_rate(clock, capsys):
  """A member that diverged: its steps count as done, not as fast."""
  with progress.bar(1000) as advance:
    for clock[0] in (0.0, 10.0, 20.0):
      advance('one', 100)
    advance('one', 600, taken=False)
    for clock[0] in (30.0, 40.0):
      advance('two', 50)
  assert lines(capsys)[2:] == [
    '30.0% one 10 run-steps/s 70 s left',
    '95.0% two',
    '100.0% two 5 run-steps/s',
  ]


def test_lines_come_with_a_label_or_after_ten_seconds(clock, capsys):
  with progress.bar(100) as advance:
    for clock[0] in range(25):
      advance('tune none' if clock[0] < 22 else 'final none', 1)
  assert [x.split('%')[0] for x in lines(capsys)] == [
    '1.0', '11.0', '21.0', '23.0',
  ]  # fmt: skip


def test_a_terminal_has_a_bar_and_no_lines(clock, monkeypatch):
  terminal = Terminal()
  monkeypatch.setattr(sys, 'stderr', terminal)
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '100')
  with progress.bar(100) as advance:
    clock[0] = 5.0
    advance('training', 40, taken=False)
    for clock[0] in (10.0, 20.0):
      advance('training', 30)
  shown = terminal.getvalue()
  assert '3 run-steps/s' in shown and '100%' in shown and '0:00:20' in shown
  assert '100.0%' not in shown
