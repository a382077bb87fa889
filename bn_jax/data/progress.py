"""A progress bar for work that may take long, and often does not."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')
_PATIENCE = 2.0  # seconds without a word


def track(chunks: Iterable[T], sizes: Iterable[int], text: str) -> Iterator[T]:
  """Yields the chunks; draws a bar once they take more than two seconds.

  Args:
    chunks: what is worked on, one after the other.
    sizes: how much each chunk counts.
    text: what is being done. The bar is on stderr, and only on a terminal.
  """
  sizes = list(sizes)
  start = time.monotonic()
  done, bar = 0, None
  try:
    for chunk, size in zip(chunks, sizes, strict=True):
      yield chunk
      done += size
      if bar is None and time.monotonic() - start > _PATIENCE:
        bar = _bar(text, sum(sizes))
      if bar:
        bar.update(0, completed=done)
  finally:
    if bar:
      bar.stop()


def _bar(text, total):
  import rich.console
  import rich.progress as rp

  columns = [rp.TextColumn('{task.description}'), rp.BarColumn()]
  columns += [rp.MofNCompleteColumn(), rp.TimeRemainingColumn()]
  bar = rp.Progress(
    *columns,
    console=rich.console.Console(stderr=True),
    transient=True,
    disable=not sys.stderr.isatty(),
  )
  bar.add_task(text, total=total)
  bar.start()
  return bar
