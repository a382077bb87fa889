"""All that a report says, read from a workdir at once."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bn_jax import results, statistics
from bn_jax.errors import UserError
from bn_jax.plots.style import ordered


class Study(NamedTuple):
  """A finished or running study, or a single run."""

  path: Path
  df: pd.DataFrame
  """Of `results.load`, whole."""
  config: dict[str, Any]
  """`config.json`: of a study `command`, `study` and `cases`."""
  environment: dict[str, Any]
  choices: list[dict[str, Any]]
  """What tuning chose, an entry for each strategy and variant."""
  summaries: dict[str, dict[str, Any]]
  times: dict[str, dict[str, Any]]
  """Seconds per step, a value per round, of strategies timed in turns."""
  chance: float
  target: float
  reference: str

  @property
  def final(self) -> pd.DataFrame:
    """Rows that are reported: fresh seeds, or the only ones there are."""
    phases = set(self.df.phase)
    shown = [p for p in ('final', '', 'tune', 'rates') if p in phases]
    return self.df[self.df.phase == shown[0]]

  @property
  def tune(self) -> pd.DataFrame:
    """Rows of the tuning seeds."""
    return self.df[self.df.phase == 'tune']

  @property
  def rates(self) -> pd.DataFrame:
    """Rows of the learning-rate curve, with reported seeds; none without."""
    return self.df[self.df.phase == 'rates']

  @property
  def grid(self) -> list[str]:
    """Columns of the numbers, but the rate, that make the study's variants."""
    numbers = self.df.select_dtypes('number')
    return [n for n in _dotted(self.settings.get('grid', {})) if n in numbers]

  @property
  def variants(self) -> list[str]:
    """Names of the variants, in the order of their numbers."""
    return sorted(set(self.df.variant), key=natural)

  @property
  def settings(self) -> dict[str, Any]:
    """The study's own settings; empty for a single run."""
    return self.config.get('study', {})

  @property
  def strategies(self) -> list[str]:
    """In the order of the study."""
    found = ordered(self.df.strategy)
    wanted = [s for s in self.settings.get('strategies', []) if s in found]
    return wanted + [s for s in found if s not in wanted]

  @property
  def metric(self) -> str:
    """What the verdict is about: test accuracy, or what there is of it."""
    return score_metric(self.final)


def present(reference, names) -> str:
  """The reference where it is among the names, else the first of them."""
  return reference if reference in names or not names else names[0]


def score_metric(df) -> str:
  """The first of test, validation and training accuracy that was measured."""
  for name in ('test/accuracy', 'validation/accuracy', 'train/accuracy'):
    if name in df and df[name].notna().any():
      return name
  return 'test/accuracy'


def read(workdir) -> Study:
  """Reads a study's workdir, finished or not.

  Raises:
    UserError: there is no run in it, none has measured anything yet, or a file
      is corrupt.
  """
  path = Path(workdir)
  df = results.load(path)
  if not len(df):
    raise UserError(f'workdir: nothing has been measured yet in {path}')
  summaries = results.summaries(path)
  config = results.read_json(path / 'config.json', {})
  chances = [s['chance'] for s in summaries.values() if 'chance' in s]
  chance = chances[0] if chances else 0.1
  settings = config.get('study', {})
  study = Study(
    path=path,
    df=df,
    config=config,
    environment=_merged(results.environments(path)),
    choices=list(results.read_json(path / 'choice.json', {}).values()),
    summaries=summaries,
    times=results.read_json(path / 'times.json', {}),
    chance=chance,
    target=settings.get('target', np.nan),
    reference=settings.get('reference', 'none'),
  )
  if np.isnan(study.target):
    study = study._replace(target=default_target(study.final, chance))
  return study


def _merged(found):
  """Environments as one: of what differs between them, all values."""
  merged = {}
  for name in dict.fromkeys(name for each in found for name in each):
    values = [each[name] for each in found if name in each]
    distinct = [v for i, v in enumerate(values) if v not in values[:i]]
    if isinstance(values[0], dict):
      merged[name] = _merged(values)
    else:
      merged[name] = distinct[0] if len(distinct) == 1 else _each(distinct)
  return merged


def _each(values):
  said = [', '.join(map(str, v)) if isinstance(v, list) else v for v in values]
  return '; '.join(map(str, said))


def default_target(df, chance=0.1) -> float:
  """90% of the best strategy's mean validation accuracy, in whole percent."""
  if 'validation/accuracy' not in df or not len(df):
    return np.nan
  scores = statistics.finals(df, 'validation/accuracy', chance=chance)
  best = scores.groupby('strategy').score.mean().max()
  return float(np.round(0.9 * best, 2))


def _dotted(tree, prefix=''):
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _dotted(value, f'{prefix}{name}.')
    else:
      yield prefix + name


def natural(text):
  """A key that sorts names by the numbers in them."""
  parts = re.split(r'(\d+(?:\.\d+)?(?:e[-+]?\d+)?)', text)
  return [float(p) if i % 2 else p for i, p in enumerate(parts)]
