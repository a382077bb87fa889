"""Workdirs as tables: what was trained, as one pandas DataFrame.

A *run* is one population: `members.json` (who its members are),
`config.json`, `curves.jsonl` (a JSON line per chunk of steps) and, once it has
ended, `summary.json`. A *study* is a folder whose runs are
`runs/<phase>-<strategy>[-<variant>]`.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bn_jax import errors
from bn_jax.errors import UserError
from bn_jax.fields import flatten

IDENTITY = ['run', 'phase', 'strategy', 'variant', 'member', 'seed']
# Fields of a config that have columns of other names, or none: a path.
TOLD = {'seed', 'strategies', 'optimizer.learning_rate', 'data.data_dir'}
# A run; a study; a folder of either.
_RUN_PATTERNS = (('',), ('runs/*/',), ('*/', '*/runs/*/'))


def load(workdir):
  """Reads one run, one study, or a folder of either.

  Args:
    workdir: path of the folder.

  Returns:
    A DataFrame with a row per (run, member, step), sorted so. Columns: `run`
    (the folder, relative to workdir), `phase` ('tune', 'final', 'rates', or ''
    for a run outside a study), `strategy`, `variant` ('' if none), `member`,
    `seed`, `learning_rate`, every other hyperparameter by its dotted name,
    every field of the configs that differs between the runs that have it
    (`model.depth`, ...; NaN for the others, a list as text), `diverged_at` (a
    step, -1 if it did not), `step`, and the metrics by name, NaN where one was
    not measured. `test/...` is there at the last step, and before it where
    `log.test` was set.

  Raises:
    UserError: there is no run in the folder, or a file is corrupt. A last line
      of `curves.jsonl` without its newline is being written: it is left out.
  """
  folders = find_runs(workdir)
  varying = _varying_fields(folders)
  frames = [
    _load_run(folder, _label(folder, workdir), varying) for folder in folders
  ]
  frames = [f for f in frames if len(f)] or frames[:1]
  # A copy is in one piece; of many columns the frame would be in fragments.
  return pd.concat(frames, ignore_index=True).copy()


def summaries(workdir):
  """`summary.json` of every run that has ended, by the run's name in `load`."""
  return {
    _label(folder, workdir): read_json(folder / 'summary.json', {})
    for folder in find_runs(workdir)
    if (folder / 'summary.json').exists()
  }


def environments(workdir):
  """Every `environment.json` of a study or run, and what resumed runs added."""
  found = []
  for folder in dict.fromkeys([Path(workdir), *find_runs(workdir)]):
    begun = read_json(folder / 'environment.json', {})
    found += [begun, *begun.pop('resumed', [])]
  return found


def find_runs(workdir):
  """The folders of the runs in `workdir`, sorted.

  Raises:
    UserError: there is none.
  """
  workdir = Path(workdir)
  for patterns in _RUN_PATTERNS:
    files = [f for p in patterns for f in workdir.glob(p + 'members.json')]
    if files:
      return sorted(path.parent for path in files)
  raise UserError(
    f'workdir: no run in {workdir}; a run has members.json, a study has'
    ' runs/*/members.json'
  )


def read_json(path, default=None):
  """Reads a JSON file; `default` (if given) where there is no such file.

  Raises:
    UserError: It cannot be read, or is not of the default's kind.
  """
  if default is None:
    return errors.read_json(path, object)
  return errors.read_json(path, type(default), default)


def read_members(path):
  """Reads `members.json`: a dict for each member.

  Raises:
    UserError: It is not such a file.
  """
  members = errors.read_json(path, list)
  for member in members:
    if not isinstance(member, dict) or not isinstance(member.get('seed'), int):
      raise UserError(f'workdir: {path}: {member!r} is no member with a seed')
  return members


def read_curves(path, num_members):
  """Reads `curves.jsonl` into arrays.

  Args:
    path: the file; each line is `{"step": [rows], "metrics": {name: [members]
      [rows]}}`. Lines may have steps of their own; of two lines that hold the
      same metric at the same step, the later wins (a resumed run).
    num_members: members that every metric must have.

  Returns:
    (steps, metrics): int64 (rows,), and by name float64 (num_members, rows).

  Raises:
    UserError: a line that ends in a newline is not such a line.
  """
  chunks = list(_chunks(Path(path), num_members))
  if not chunks:
    return np.zeros(0, np.int64), {}
  steps = np.unique(np.concatenate([step for step, _ in chunks]))
  metrics = {}
  for step, values in chunks:
    where = np.searchsorted(steps, step)
    for name, value in values.items():
      if name not in metrics:
        metrics[name] = np.full((num_members, len(steps)), np.nan)
      metrics[name][:, where] = value
  return steps, metrics


def _chunks(path, num_members):
  try:
    lines = path.read_bytes().split(b'\n')
  except FileNotFoundError:
    return
  except OSError as error:
    raise UserError(
      f'workdir: {path} cannot be read: {error.strerror}'
    ) from None
  for number, line in enumerate(lines[:-1], start=1):
    try:
      yield _parse(line, num_members)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
      raise UserError(
        f'{path}, line {number}: not a chunk of curves:'
        f' {type(error).__name__}: {error}'
      ) from None


def _parse(line, num_members):
  chunk = json.loads(line)
  step = np.asarray(chunk['step'], np.int64)
  metrics = {}
  for name, value in chunk['metrics'].items():
    # A null stands for what is not finite, which JSON has no word for.
    value = np.asarray(value, np.float64)
    if value.shape != (num_members, len(step)):
      raise ValueError(
        f'{name} has shape {value.shape}, not {(num_members, len(step))}'
      )
    metrics[name] = value
  return step, metrics


def _load_run(folder, label, varying):
  members = read_members(folder / 'members.json')
  steps, metrics = read_curves(folder / 'curves.jsonl', len(members))
  summary = read_json(folder / 'summary.json', {})
  config = read_json(folder / 'config.json', {})
  columns = _identity(folder, config, label, len(members))
  columns |= _member_columns(members, config)
  fields = _fields(config)
  columns |= {
    name: [fields.get(name, np.nan)] * len(members)
    for name in varying
    if name not in columns
  }
  columns['diverged_at'] = summary.get('diverged_at', [-1] * len(members))
  rows = {n: np.repeat(np.asarray(v), len(steps)) for n, v in columns.items()}
  rows['step'] = np.tile(steps, len(members))
  rows |= _at_last_step(summary, len(members), len(steps))
  # Last, since a run may have scored the test part on the way, too.
  rows |= {name: value.ravel() for name, value in metrics.items()}
  return pd.DataFrame(rows)


def _identity(folder, config, label, num_members):
  strategy = '+'.join(config.get('strategies', [])) or 'none'
  phase, variant = '', ''
  if _is_study(folder.parent):
    phase, _, rest = folder.name.partition('-')
    variant = rest.removeprefix(strategy).removeprefix('-')
  values = [label, phase, strategy, variant]
  return {n: [v] * num_members for n, v in zip(IDENTITY, values, strict=False)}


def _is_study(runs):
  """Whether these are the runs of a study: others may be in `runs`, too."""
  return runs.name == 'runs' and 'study' in read_json(
    runs.parent / 'config.json', {}
  )


def _member_columns(members, config):
  columns = {
    'member': [m.get('member', i) for i, m in enumerate(members)],
    'seed': [m['seed'] for m in members],
  }
  names = sorted({name for m in members for name in m.get('hparams', {})})
  hparams = {
    name: [m.get('hparams', {}).get(name, np.nan) for m in members]
    for name in names
  }
  default = config.get('optimizer', {}).get('learning_rate', np.nan)
  rate = hparams.pop('optimizer.learning_rate', [default] * len(members))
  return columns | {'learning_rate': rate} | hparams


def _at_last_step(summary, num_members, num_steps):
  columns = {}
  for name, values in summary.items():
    if '/' in name and isinstance(values, list) and num_steps:
      column = np.full((num_members, num_steps), np.nan)
      column[:, -1] = np.asarray(values, np.float64)
      columns[name] = column.ravel()
  return columns


def _varying_fields(folders):
  """Names of the fields that tell runs, or the members of one, apart."""
  values, tuned = {}, set()
  for folder in folders:
    for name, value in _fields(read_json(folder / 'config.json', {})).items():
      values.setdefault(name, set()).add(value)
    for member in read_members(folder / 'members.json'):
      tuned |= member.get('hparams', {}).keys()
  differ = {name for name, found in values.items() if len(found) > 1}
  return sorted((differ | tuned) - TOLD)


def _fields(config):
  """A config by dotted names; lists, which have no hash, as text."""
  return {
    name: str(value) if isinstance(value, list) else value
    for name, value in flatten(config).items()
  }


def _label(folder, workdir):
  parts = Path(folder).relative_to(workdir).parts
  return '/'.join(p for p in parts if p != 'runs') or Path(workdir).name
