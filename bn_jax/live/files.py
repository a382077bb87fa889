"""What the files of a study or run say about how far it is."""

import json
import operator
import pathlib
import time
from typing import Any, NamedTuple

from bn_jax.errors import UserError, read_json

ACCURACY = 'validation/accuracy'


class Part(NamedTuple):
  """One run of a study, or the only one."""

  strategy: str
  variant: str
  phase: str
  """`tune`, `final`, `rates`, or '' outside a study."""
  members: int
  seeds: int
  """Members next to each other that are one trial of tuning."""
  total: int
  """Steps of each member."""
  step: int
  """Up to which the curves are written."""
  accuracies: tuple[float | None, ...]
  """Each member's last on the validation part; None if it diverged."""
  summary: dict[str, Any] | None
  """Of a run that has ended."""
  seconds: float
  """For which it has run."""

  @property
  def share(self) -> float:
    """How much of it is done, 0 to 1."""
    return 1.0 if self.summary else self.step / self.total

  @property
  def failed(self) -> int:
    """Members that diverged."""
    return sum(a is None for a in self.accuracies)


class Picture(NamedTuple):
  """What there is to see at one moment."""

  path: pathlib.Path
  parts: list[Part]
  ended: bool
  left: float | None
  """Seconds, as far as one can tell."""
  silent: float
  """Seconds since anything was written."""


class Watcher:
  """Reads a study's or run's files, each time only what is new."""

  def __init__(self, workdir):
    """Finds out what is there.

    Raises:
      UserError: It is neither a study nor a run.
    """
    self.path = pathlib.Path(workdir)
    config = read_json(self.path / 'config.json', default=None)
    if config is None:
      raise UserError(
        f'DIR: {workdir} is no study and no run{_near(self.path)}'
      )
    self._settings = config.get('study')
    try:
      self._runs = list(
        self._of_study(config)
        if self._settings is not None
        else self._of_run(config)
      )
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
      raise UserError(
        f'DIR: {self.path / "config.json"} is not the config of a study or a '
        f'run ({type(error).__name__}: {error})'
      ) from None

  def _of_run(self, config):
    strategy = '+'.join(config['strategies']) or 'none'
    steps = operator.index(config['num_train_steps'])
    yield _Run(self.path, (strategy, '', ''), 1, 1, steps)

  def _of_study(self, config):
    study = self._settings
    rates = study['rates'][2] if study.get('rates') else 0
    trials, seeds = study['tuning_seeds'], study['seeds']
    sizes = {
      'tune': (study['trials'] * trials, trials),
      'final': (seeds, 1),
      'rates': (seeds * int(rates), 1),
    }
    for phase, (members, together) in sizes.items():
      for name, case in config['cases'].items() if members else ():
        _, strategy, variant = (*name.split('-', 2), '')[:3]
        folder = self.path / 'runs' / (phase + name.removeprefix('case'))
        names = strategy, variant, phase
        steps = operator.index(case['num_train_steps'])
        yield _Run(folder, names, members, together, steps)

  def look(self) -> Picture:
    """Reads what was written since the last look.

    Raises:
      UserError: A file is corrupt.
    """
    parts = [run.look() for run in self._runs]
    timed = self._settings and self._settings.get('timing_rounds')
    ended = all(part.summary for part in parts) and (
      not timed or (self.path / 'times.json').exists()
    )
    wrote = [_changed(self.path / 'config.json')]
    wrote += [max(run.began, run.wrote) for run in self._runs]
    silent = max(0.0, time.time() - max(wrote))
    left = 0.0 if ended else _left(parts, silent)
    return Picture(self.path, parts, ended, left, silent)


class _Run:
  """The curves of a run, read as they grow."""

  def __init__(self, folder, names, members, together, total):
    self._folder, self._names, self._total = folder, names, total
    self._members, self._together = members, together
    self._summary = None
    self._forget()

  def _forget(self):
    self._offset, self._step, self._accuracies = 0, 0, ()
    self.began = self.wrote = 0.0

  def look(self) -> Part:
    if self._summary is None:
      self._read()
    ran = max(0.0, self.wrote - self.began) if self._step else 0.0
    if self._summary:
      ran = self._summary.get('seconds', ran)
    return Part(
      *self._names, self._members, self._together, self._total, self._step,
      self._accuracies, self._summary, ran,
    )  # fmt: skip

  def _read(self):
    path = self._folder / 'curves.jsonl'
    # First, so that a run that ends meanwhile is whole.
    summary = read_json(self._folder / 'summary.json', default=None)
    if path.exists():
      self._read_curves(path)
    members = read_json(self._folder / 'members.json', list, None)
    self._members = len(members) if members else self._members
    self._summary = summary
    self.began = _changed(self._folder / 'config.json')

  def _read_curves(self, path):
    """What is new, or all of it if a resumed run dropped some."""
    if path.stat().st_size < self._offset:
      self._forget()
    try:
      self._read_new(path)
    except UserError:
      if not self._offset:
        raise
      # It was dropped and has grown again since the last look.
      self._forget()
      self._read_new(path)

  def _read_new(self, path):
    try:
      with open(path, 'rb') as file:
        file.seek(self._offset)
        new = file.read()
    except OSError as error:
      raise UserError(f'{path} cannot be read: {error.strerror}') from None
    # A line without its end is being written.
    whole = new[: new.rfind(b'\n') + 1]
    for line in whole.splitlines():
      try:
        chunk = json.loads(line)
        self._step = max([self._step, *chunk['step']])
        last = chunk['metrics'].get(ACCURACY)
        if last:
          self._accuracies = tuple(row[-1] for row in last)
      except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
          f'{path}: not a chunk of curves: {type(error).__name__}: {error}'
        ) from None
    self._offset += len(whole)
    self.wrote = _changed(path)


def _changed(path) -> float:
  """When a file was written last; 0 if it is not there."""
  try:
    return path.stat().st_mtime
  except FileNotFoundError:
    return 0.0


def _near(path) -> str:
  if not path.is_dir():
    what = 'it is a file' if path.exists() else 'there is no such folder'
    return f'; {what}'
  inside = sorted(p.parent.name for p in path.glob('*/config.json'))
  if not inside:
    return ', which have a config.json'
  return f'; it holds {", ".join(inside[:5])}: give one of them'


def _left(parts, silent) -> float | None:
  """Seconds, at the speed of the same strategy as far as it is known."""
  speeds = {}
  for part in parts:
    if part.seconds > 0:
      speed = part.share * part.members * part.total / part.seconds
      speeds.setdefault((part.strategy, part.variant), []).append(speed)
  if not speeds:
    return None
  known = {name: sum(found) / len(found) for name, found in speeds.items()}
  # Of those that have not begun: as much time as the others, on average.
  other = len(known) / sum(1 / speed for speed in known.values())
  todo = sum(
    (1 - part.share) * part.members * part.total
    / known.get((part.strategy, part.variant), other)
    for part in parts
  )  # fmt: skip
  return max(0.0, todo - silent)
