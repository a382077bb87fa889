"""The workdir of a run: config, environment, curves, checkpoints, summary.

A file is either written whole (to a temporary name, then renamed) or, like
the curves, a line at a time; a line that was not finished does not count.
"""

import json
import os
import pathlib
import platform
import subprocess
from importlib import metadata

import jax
import numpy as np

import bn_jax
from bn_jax.errors import UserError

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'tensorflow-datasets')


def write_json(path: pathlib.Path, value) -> None:
  """Writes a file that is either all there or not there."""
  partial = path.with_name(path.name + '.partial')
  with open(partial, 'w') as file:
    json.dump(value, file, indent=2, default=_plain)
    file.write('\n')
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)


def read_json(path: pathlib.Path):
  """Reads a file of `write_json`.

  Raises:
    UserError: If it is not JSON.
  """
  try:
    return json.loads(path.read_text())
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise UserError(
      f'workdir: {path} is not JSON ({error}); delete it to start afresh'
    ) from None


def environment() -> dict:
  """Versions, devices and commit: where the numbers were made."""
  devices = jax.devices()
  return {
    'bn_jax': bn_jax.__version__,
    'commit': _commit(),
    'python': platform.python_version(),
    'machine': platform.machine(),
    'cores': len(os.sched_getaffinity(0)),
    'devices': [f'{d.platform}:{d.device_kind}' for d in devices],
    'processes': jax.process_count(),
    'packages': {name: metadata.version(name) for name in PACKAGES},
  }


def _commit() -> str:
  """The commit of the checkout, with a `+` if it was edited; '' elsewhere."""
  root = pathlib.Path(bn_jax.__file__).parent.parent
  if not (root / '.git').exists():
    return ''
  command = ['git', '-C', str(root), 'describe', '--always', '--dirty=+']
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=5)
  except (OSError, subprocess.TimeoutExpired):
    return ''
  return done.stdout.strip()


class Workdir:
  """The folder of one run (a population), and what is in it."""

  def __init__(self, path):
    """Names the folder; nothing is read or written yet."""
    self.path = pathlib.Path(path)

  def check(self, config: dict, members: list[dict]) -> None:
    """Refuses a folder that holds another run.

    Raises:
      UserError: Names the first difference.
    """
    path = self.path / 'config.json'
    if not path.exists():
      return
    wanted = {'config': config, 'members': members}
    wanted = json.loads(json.dumps(wanted, default=_plain))
    found = {'config': read_json(path), 'members': self.read('members')}
    difference = compare(found, wanted)
    if difference:
      raise UserError(
        f'workdir: {self.path} holds another run; {difference}; choose '
        'another --workdir or delete it'
      )

  def create(self, config: dict, members: list[dict]) -> None:
    """Makes the folder this run's, unless it is already.

    Raises:
      UserError: If it cannot be written.
    """
    if (self.path / 'config.json').exists():
      return
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      self.write('members', members)
      self.write('environment', environment())
      self.write('config', config)  # last: it says that the others are there
    except OSError as error:
      raise UserError(
        f'workdir: {self.path} cannot be written: {error.strerror}'
      ) from None

  def write(self, name: str, value) -> None:
    """Writes `name`.json whole."""
    write_json(self.path / f'{name}.json', value)

  def read(self, name: str):
    """Reads `name`.json; None if it is not there."""
    path = self.path / f'{name}.json'
    return read_json(path) if path.exists() else None

  def append(self, steps: list[int], metrics: dict[str, np.ndarray]) -> None:
    """Appends curves: for each metric (members, len(steps))."""
    rows = {name: np.asarray(v).tolist() for name, v in metrics.items()}
    line = json.dumps({'step': steps, 'metrics': rows})
    with open(self.path / 'curves.jsonl', 'a') as file:
      file.write(line + '\n')
      file.flush()
      os.fsync(file.fileno())

  def rewind(self, step: int) -> None:
    """Drops the curves after `step`, as a run that resumes there must."""
    path = self.path / 'curves.jsonl'
    if not path.exists():
      return
    lines = path.read_text().split('\n')[:-1]
    kept = [line for line in lines if json.loads(line)['step'][-1] <= step]
    partial = path.with_name(path.name + '.partial')
    partial.write_text(''.join(line + '\n' for line in kept))
    os.replace(partial, path)


class Checkpoints:
  """The states that a run can resume from, written by orbax."""

  def __init__(self, path: pathlib.Path, keep: int):
    """Opens the folder `checkpoints` of a workdir.

    Args:
      path: The workdir.
      keep: How many checkpoints stay.
    """
    import orbax.checkpoint as ocp  # half a second: not for short runs

    self._ocp = ocp
    self._manager = ocp.CheckpointManager(
      path.resolve() / 'checkpoints',
      options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
    )

  def save(self, step: int, state) -> None:
    """Starts to write a checkpoint; the run goes on meanwhile."""
    self._manager.save(step, args=self._ocp.args.StandardSave(state))

  def restore(self, like):
    """The newest state, laid out as `like`; None if there is none."""
    step = self._manager.latest_step()
    if step is None:
      return None
    abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, like)
    return self._manager.restore(
      step, args=self._ocp.args.StandardRestore(abstract)
    )

  def close(self) -> None:
    """Waits until what is being written is on the disk."""
    self._manager.wait_until_finished()
    self._manager.close()


def compare(found, wanted, path: str = '') -> str:
  """The first difference between two JSON values in words, or ''."""
  if isinstance(found, dict) and isinstance(wanted, dict):
    for key in sorted(found.keys() | wanted.keys()):
      inner = f'{path}.{key}' if path else key
      difference = compare(found.get(key), wanted.get(key), inner)
      if difference:
        return difference
    return ''
  if found == wanted:
    return ''
  return f'{path.removeprefix("config.")} is {found!r} there, {wanted!r} here'


def _plain(value):
  """JSON for what NumPy made."""
  return value.tolist() if hasattr(value, 'tolist') else str(value)
