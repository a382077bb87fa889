"""Being asked to stop: SIGTERM from a scheduler, Ctrl-C from a person.

Floor 0. Inside `deferred` a signal only makes a note, and the loop stops where
nothing is lost; a second one stops at once, unless it comes within a second:
timeout(1) and batch systems tell a process and its group, which is one request
and must not break off the checkpoint that the first one asked for. Outside it
raises.
"""

import contextlib
import signal
import threading
import time

# What a command exits with; 75 is EX_TEMPFAIL, "try again", of sysexits.h.
RESUME_ME = 75
INTERRUPTED = 130

_TWICE = 1.0  # seconds within which two signals are one request

_asked: list[tuple[int, float]] = []  # signals, and when they came


class Stopped(BaseException):
  """The run ended before its last step; the same command goes on with it.

  No `Exception`, like KeyboardInterrupt: what explains a config file's or a
  library's failures must not take it for one.
  """

  def __init__(self, message: str, code: int = RESUME_ME):
    """Notes what to say and the exit code."""
    super().__init__(message)
    self.code = code


def requested() -> bool:
  """Whether a signal has asked the run to stop."""
  return bool(_asked)


def stopped(where: str) -> Stopped:
  """The exception for a run that stops where the signal asked it to."""
  interrupted = signal.SIGINT in [number for number, _ in _asked]
  return Stopped(
    f'stopped {where}; the same command goes on from there',
    INTERRUPTED if interrupted else RESUME_ME,
  )


@contextlib.contextmanager
def deferred():
  """Lets SIGTERM and SIGINT only set `requested` until the end of the block."""

  def note(number, frame):
    now = time.monotonic()
    if _asked and now - _asked[0][1] > _TWICE:
      _raise(number, frame)
    _asked.append((number, now))

  with _handling(note, (signal.SIGTERM, signal.SIGINT)):
    try:
      yield
    finally:
      if _in_main_thread():  # another one's note is not ours to clear
        _asked.clear()


def at_once():
  """A context in which SIGTERM raises `Stopped`."""
  return _handling(_raise, (signal.SIGTERM,))


def _raise(number, frame):
  del frame
  if number == signal.SIGINT:
    raise KeyboardInterrupt
  raise Stopped('stopped; the same command goes on')


@contextlib.contextmanager
def _handling(handler, numbers):
  # Only the main thread may, and a library's caller may run us in another.
  if not _in_main_thread():
    yield
    return
  before = {n: signal.signal(n, handler) for n in numbers}
  try:
    yield
  finally:
    for number, old in before.items():
      signal.signal(number, signal.SIG_DFL if old is None else old)


def _in_main_thread():
  return threading.current_thread() is threading.main_thread()
