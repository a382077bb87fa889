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


@contextlib.contextmanager
def bar(
  total: int, unit: str = 'run-steps'
) -> Iterator[Callable[[str, int], None]]:
  """Shows the progress of `total` units, with rate and time left.

  Yields:
    advance(label, steps): what is running, and how many units it just took.
  """
  if sys.stderr.isatty():
    with _rich(total, unit) as advance:
      yield advance
  else:
    yield _lines(total, unit)


@contextlib.contextmanager
def _rich(total, unit):
  columns = (
    TextColumn('{task.description}'),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn('{task.fields[rate]}'),
    TimeRemainingColumn(elapsed_when_finished=True),
  )
  with Progress(*columns, console=Console(stderr=True)) as shown:
    task = shown.add_task('starting', total=total, rate='')

    def advance(label, steps):
      shown.update(task, description=label, advance=steps)
      speed = shown.tasks[task].speed
      if speed:
        shown.update(task, rate=f'{speed:,.0f} {unit}/s')

    yield advance


def _lines(total, unit):
  began, last, done = time.monotonic(), [0.0, ''], [0]

  def advance(label, steps):
    done[0] += steps
    now = time.monotonic()
    if label == last[1] and now - last[0] < SECONDS_BETWEEN_LINES:
      return
    last[:] = now, label
    rate = done[0] / max(now - began, 1e-9)
    left = f'{(total - done[0]) / rate:,.0f} s left' if rate else ''
    print(
      f'{done[0] / total:5.1%}  {label}  {rate:,.0f} {unit}/s  {left}',
      file=sys.stderr,
      flush=True,
    )

  return advance
