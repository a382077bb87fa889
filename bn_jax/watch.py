"""Notices that another process of the run is gone, and ends this one.

A collective that waits for a process that died may wait for ever (NCCL), and
JAX's own heartbeat ends the rest by an abort. So each process counts in the
coordinator's key-value store, and looks whether the others still do.
"""

import atexit
import os
import sys
import threading
import time

from bn_jax.stopping import RESUME_ME

BEATS = 10  # of a process within the time after which it counts as lost
DONE = 'done'
FOLDER = 'bn_jax/alive/'


def end(reason: str) -> None:
  """Ends this process at once: a regular end would wait for the lost one."""
  sys.stdout.flush()
  print(
    f'{reason}; the same commands go on from the last checkpoint',
    file=sys.stderr,
    flush=True,
  )
  os._exit(RESUME_ME)


class Watch:
  """Who was heard of when.

  Separate from the thread and the store, so that a clock can be made up.
  """

  def __init__(self, seconds: float):
    """Counts as lost who does not count on for this many seconds."""
    self._seconds, self._heard = seconds, {}

  def lost(self, counts: dict[str, str], now: float) -> list[str]:
    """The processes that are lost at a time, given what each has counted."""
    for name, count in counts.items():
      if self._heard.get(name, ('', 0))[0] != count:
        self._heard[name] = count, now
    return sorted(
      name
      for name, (count, when) in self._heard.items()
      if count != DONE and now - when > self._seconds
    )


def start(client, process_id: int, seconds: float) -> None:
  """Begins to count and to look, in a thread of its own.

  Args:
    client: Of JAX's coordination service.
    process_id: Of this process.
    seconds: After which a process that does not count is lost.
  """

  def put(value):
    client.key_value_set(f'{FOLDER}{process_id}', value, allow_overwrite=True)

  def run():
    watch, count = Watch(seconds), 0
    while not over.wait(seconds / BEATS):
      count += 1
      try:
        put(str(count))
        counts = dict(client.key_value_dir_get(FOLDER))
      except Exception:
        if not over.is_set():
          end('the coordinator, process 0, was lost')
        return
      lost = watch.lost(counts, time.monotonic())
      if lost and not over.is_set():
        names = ', '.join(name.rpartition('/')[2] for name in lost)
        end(f'process {names} was lost (nothing heard for {seconds:g} s)')

  def finish():
    over.set()
    try:
      put(DONE)
    except Exception:  # the coordinator may be gone already
      return

  put('0')  # so that the others miss it if it dies before the first beat
  over = threading.Event()
  atexit.register(finish)
  threading.Thread(target=run, daemon=True, name='watch').start()
