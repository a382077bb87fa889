"""A progress bar on a terminal, and a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
  BarColumn,
  Progress,
  TaskProgressColumn,
  TextColumn,
  TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0
# The rate is that of so many seconds: a chunk of steps may take a minute.
SECONDS_OF_RATE = 600.0


@contextlib.contextmanager
def bar(
  total: int, unit: str = 'run-steps'
) -> Iterator[Callable[[str, int], None]]:
  """Shows the progress of `total` units, with rate and time left.

  Where there are none, nothing is shown.

  Yields:
    advance(label, units, taken=True): what is running, and how many units are
    done now; with `taken=False` they were done before, or are not needed, and
    tell nothing of the rate. The first ones do not, either: they compile.
  """
  columns = (
    TextColumn('{task.description}'),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn('{task.fields[rate]}'),
    TimeRemainingColumn(elapsed_when_finished=True),
  )
  shown = Progress(
    *columns,
    console=Console(stderr=True),
    speed_estimate_period=SECONDS_OF_RATE,
    disable=not sys.stderr.isatty(),
  )
  with shown:
    shown.add_task('starting', total=total, rate='', visible=total > 0)
    yield _Advance(shown, unit)


class _Advance:
  def __init__(self, shown, unit):
    self.shown, self.unit = shown, unit
    self.said = ('', -SECONDS_BETWEEN_LINES)

  def __call__(self, label, units, taken=True):
    (task,) = self.shown.tasks
    if taken:
      self.shown.update(task.id, description=label, advance=units)
    else:
      began, done = task.start_time, task.completed + units
      self.shown.reset(task.id, completed=done, description=label)
      task.start_time = began
    rate = f'{_short(task.speed)} {self.unit}/s' if task.speed else ''
    self.shown.update(task.id, rate=rate)
    if self.shown.disable:
      self._line(task, label, rate)

  def _line(self, task, label, rate):
    """A line for each label, and every ten seconds."""
    before, at = self.said
    now = time.monotonic()
    if label == before and now - at < SECONDS_BETWEEN_LINES:
      return
    self.said = label, now
    left = f'{task.time_remaining:,.0f} s left' if task.time_remaining else ''
    line = f'{task.percentage / 100:6.1%}  {label}  {rate}  {left}'
    print(line.rstrip(), file=sys.stderr, flush=True)


def _short(rate):
  return f'{rate:,.0f}' if rate >= 10 else f'{rate:.2g}'
