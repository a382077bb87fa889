"""The workdir of a run: config, environment, curves, summary.

A file is either written whole (to a temporary name, then renamed) or, like
the curves, a line at a time; a line that was not finished does not count.
"""

import contextlib
import json
import os
import pathlib
import zlib

import numpy as np

import bn_jax
from bn_jax import environment, hosts
from bn_jax.errors import UserError, check_folder, read_json

CURVES = 'curves.jsonl'
# What an empty file of curves has.
NOTHING = {'bytes': 0, 'checksum': 0}
# What a summary has: numbers, and what it has for each member.
NUMBERS = {
  **dict.fromkeys(('steps', 'parameters', 'seconds', 'chance'), int | float),
  'steps_per_second': int | float | None,
}
DIVERGED = ('diverged_at', 'diverged_site')
TESTED = ('test/accuracy', 'test/loss')


def write_json(path: pathlib.Path, value) -> None:
  """Writes a file that is either all there or not there."""
  partial = path.with_name(path.name + '.partial')
  with open(partial, 'w') as file:
    json.dump(value, file, indent=2, default=_plain)
    file.write('\n')
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)


class Workdir:
  """The folder of one run (a population), and what is in it."""

  def __init__(self, path):
    """Names the folder; nothing is read or written yet.

    `so_far` is what was appended to the curves: bytes and checksum.
    """
    self.path = pathlib.Path(path)
    self.so_far = dict(NOTHING)

  def check(self, config: dict, members: list[dict]) -> None:
    """Refuses a folder that holds another run.

    Raises:
      UserError: Names the first difference.
    """
    path = self.path / 'config.json'
    if not self._is_run():
      return
    check_version(self.path)
    if 'study' in read_json(path):
      raise UserError(
        f'workdir: {self.path} holds a study, of experiments.compare; choose '
        'another --workdir'
      )
    wanted = {'config': config, 'members': members}
    wanted = json.loads(json.dumps(wanted, default=_plain))
    found = {'config': read_json(path), 'members': self.read('members')}
    difference = compare(found, wanted)
    if difference:
      raise UserError(
        f'workdir: {self.path} holds another run; {difference}; choose '
        'another --workdir or delete it'
      )

  def _is_run(self) -> bool:
    """Whether there is a config; what cannot be one is refused.

    Raises:
      UserError: If the path, or a part of it, is no folder.
    """
    check_folder(self.path)
    return (self.path / 'config.json').exists()

  def create(
    self, config: dict, members: list[dict], data_source: str = ''
  ) -> None:
    """Makes the folder this run's, unless it is already.

    Where it is, and the run goes on elsewhere than it began, this is said, and
    noted in `environment.json`.

    Raises:
      UserError: If it cannot be written.
    """
    if not hosts.first():
      return
    here = environment.here(data_source)
    if (self.path / 'config.json').exists():
      self._go_on(here)
      return
    with self.written():
      self.path.mkdir(parents=True, exist_ok=True)
    self.write('members', members)
    self.write('environment', here)
    self.write('config', config)  # last: it says that the others are there

  def _go_on(self, here):
    begun = self.read('environment')
    if begun is None:  # it was deleted
      self.write('environment', here)
      return
    earlier = begun.pop('resumed', [])
    if here not in [begun, *earlier]:
      self.write('environment', {**begun, 'resumed': [*earlier, here]})
      hosts.say(
        f'{self.path}: goes on elsewhere than it began: '
        f'{compare(begun, here)}; its numbers are of both'
      )

  def write(self, name: str, value) -> None:
    """Writes `name`.json whole.

    Raises:
      UserError: If it cannot be written.
    """
    if hosts.first():
      with self.written():
        write_json(self.path / f'{name}.json', value)

  def read(self, name: str):
    """Reads `name`.json; None if it is not there.

    Raises:
      UserError: If it is not what `write` makes.
    """
    kind = list if name == 'members' else dict
    return read_json(self.path / f'{name}.json', kind, None)

  def summary(self, num_members: int, test: bool):
    """What the run ended with; None if it has not ended.

    Raises:
      UserError: If it, or the curves, are not what such a run leaves.
    """
    path, found = self.path / 'summary.json', self.read('summary')
    if found is None:
      return None
    wrong = [
      name
      for name, kind in NUMBERS.items()
      if name not in found or not isinstance(found[name], kind)
    ]
    lists = dict.fromkeys(DIVERGED, int)
    lists |= dict.fromkeys(TESTED if test else (), int | float | None)
    for name, kind in lists.items():
      each = found.get(name)
      whole = isinstance(each, list) and len(each) == num_members
      if not whole or not all(isinstance(x, kind) for x in each):
        wrong.append(name)
    if wrong:
      raise UserError(
        f'workdir: {path} does not have the {", ".join(wrong)} of a run of '
        f'{num_members} members; delete it to train again'
      )
    if not (self.path / CURVES).is_file():
      raise UserError(
        f'workdir: {self.path / CURVES} is missing though the run has ended; '
        f'delete {path} to train again'
      )
    return found

  def append(self, steps: list[int], metrics: dict[str, np.ndarray]) -> None:
    """Appends curves: for each metric (members, len(steps)).

    Raises:
      UserError: If they cannot be written.
    """
    if not hosts.first():
      return
    rows = {name: _finite(np.asarray(v)) for name, v in metrics.items()}
    line = json.dumps({'step': steps, 'metrics': rows}).encode() + b'\n'
    with self.written(), open(self.path / CURVES, 'ab') as file:
      file.write(line)
      file.flush()
      os.fsync(file.fileno())
    self.so_far = _mark(line, self.so_far)

  def holds(self, so_far: dict) -> bool:
    """Whether the curves begin as they did when `so_far` was taken."""
    try:
      data = (self.path / CURVES).read_bytes()
    except FileNotFoundError:
      data = b''
    except OSError as error:
      raise UserError(
        f'workdir: {self.path / CURVES} cannot be read: {error.strerror}'
      ) from None
    return _mark(data[: so_far['bytes']]) == so_far

  def rewind(self, so_far: dict | None = None) -> None:
    """Drops the curves after `so_far`, as a run that resumes there must."""
    self.so_far = dict(so_far or NOTHING)
    if hosts.first() and (self.path / CURVES).exists():
      with self.written(), open(self.path / CURVES, 'r+b') as file:
        file.truncate(self.so_far['bytes'])

  def written(self):
    """A context that turns the failure of a write in the folder into a line."""
    return writing(self.path)


@contextlib.contextmanager
def writing(path: pathlib.Path):
  """Turns the failure of a write in a workdir into one line."""
  try:
    yield
  except OSError as error:
    raise UserError(
      f'workdir: {path} cannot be written: {error.strerror}{_where(error)}; '
      'what is there stays, and the same command goes on from it'
    ) from None


def _where(error):
  return f' ({error.filename})' if error.filename else ''


def _mark(data: bytes, before: dict | None = None) -> dict:
  before = before or NOTHING
  return {
    'bytes': before['bytes'] + len(data),
    'checksum': zlib.crc32(data, before['checksum']),
  }


def check_version(path: pathlib.Path) -> None:
  """Refuses a workdir that another version of bn_jax has made.

  Raises:
    UserError: Names both versions.
  """
  if not (path / 'environment.json').exists():
    return
  there = read_json(path / 'environment.json').get('bn_jax')
  if there != bn_jax.__version__:
    raise UserError(
      f'workdir: {path} was made by bn_jax {there}, this is '
      f'{bn_jax.__version__}; go on with that version or choose another '
      '--workdir'
    )


def compare(found, wanted, path: str = '') -> str:
  """The first difference between two JSON values in words, or ''."""
  if isinstance(found, dict) and isinstance(wanted, dict):
    for key in sorted(found.keys() | wanted.keys()):
      inner = f'{path}.{key}' if path else key
      if key not in found or key not in wanted:
        where = 'there' if key in found else 'here'
        return f'{inner.removeprefix("config.")} is {where} only'
      difference = compare(found[key], wanted[key], inner)
      if difference:
        return difference
    return ''
  if found == wanted:
    return ''
  return f'{path.removeprefix("config.")} is {found!r} there, {wanted!r} here'


def _finite(values: np.ndarray) -> list:
  """Nested lists with None for what JSON has no word for: NaN, infinities."""
  if np.isfinite(values).all():
    return values.tolist()
  return np.where(np.isfinite(values), values, None).tolist()


def _plain(value):
  """JSON for what NumPy made."""
  return value.tolist() if hasattr(value, 'tolist') else str(value)
