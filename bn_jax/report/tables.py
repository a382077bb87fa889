"""The table of a comparison: numbers, and the same as people read them."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from bn_jax import statistics
from bn_jax.plots.sites import site_names
from bn_jax.plots.style import ordered
from bn_jax.report import study as study_lib


def table(
  df, summaries, *, times=None, target=None, chance=0.1, strategies=None,
  reference='none',
):  # fmt: skip
  """The numbers of a comparison.

  Args:
    df: of `results.load`, the rows that are reported.
    summaries: of `results.summaries`.
    times: of `times.json`: seconds per step, of strategies timed in turns.
    target: validation accuracy to which steps are counted; by default 90% of
      what the best strategy reaches.
    chance: accuracy of a guess, which diverged members score.
    strategies: their order.
    reference: the strategy that ratios of times are taken to; the first of
      those that were timed if it was not.

  Returns:
    A DataFrame with a row per (`strategy`, `variant`), its index, and columns
    `seeds`; `accuracy` and `loss` (mean over seeds, test data; validation if no
    test was made) with `_low` and `_high` (95%); `steps` (median until `target`
    is reached, inf if by fewer than half); `reached` (share of runs);
    `distance` (from normalized, at the end, mean over sites); `undone` (mean
    share of the optimizer's change that a post-step edit undid); `diverged`
    (runs); `parameters`; `time` (per step as a ratio to the reference in the
    same variant, the median over rounds in which each had its turn; with ends);
    `steps_per_second` (of all members together; the reference's median over
    those rounds, divided by that ratio; where no turns were taken, as the run
    went); `seconds` (`steps` at that speed: the machine's time for one run to
    reach the target). What was not measured is NaN. `attrs` has the `target`
    and the `reference`.
  """
  if target is None:
    target = study_lib.default_target(df, chance)
  names = strategies or ordered(df.strategy)
  rows = {
    (name, variant): _row(group, summaries, target, chance)
    for name in names
    for variant, group in _by_variant(df[df.strategy == name])
  }
  turns = {
    (t['strategy'], t['variant']): np.array(t['seconds_per_step'])
    for t in (times or {}).values()
  }
  timed = [name for name in names if any(name == n for n, _ in turns)]
  reference = study_lib.present(reference, timed)
  for (name, variant), row in rows.items():
    row |= _times(turns.get((name, variant)), turns.get((reference, variant)))
    row['seconds'] = row['steps'] / row['steps_per_second']
  index = pd.MultiIndex.from_tuples(rows, names=['strategy', 'variant'])
  found = pd.DataFrame(list(rows.values()), index=index)
  found.attrs |= {'target': target, 'reference': reference}
  return found


def _by_variant(df):
  groups = dict(list(df.groupby('variant')))
  return [(v, groups[v]) for v in sorted(groups, key=study_lib.natural)]


def _row(df, summaries, target, chance):
  members = df.drop_duplicates(['run', 'member'])
  mine = [summaries[run] for run in members.run.unique() if run in summaries]
  accuracy = study_lib.score_metric(df)
  row = {'seeds': len(members)}
  row |= _ends('accuracy', df, accuracy, chance)
  row |= _ends('loss', df, accuracy.replace('accuracy', 'loss'), chance)
  row |= _steps(df, target)
  row['distance'] = _distance(df)
  row['undone'] = df['train/undone'].mean() if 'train/undone' in df else np.nan
  row['diverged'] = int((members.diverged_at >= 0).sum())
  for name in ('parameters', 'steps_per_second'):
    values = [s[name] for s in mine if s.get(name) is not None]
    row[name] = np.mean(values) if values else np.nan
  return row


def _ends(name, df, metric, chance):
  if metric not in df:
    return dict.fromkeys((name, f'{name}_low', f'{name}_high'), np.nan)
  scores = statistics.finals(df, metric, chance=chance).score.dropna()
  found = (
    statistics.interval(scores.to_numpy()) if len(scores) else [np.nan] * 3
  )
  return dict(zip((name, f'{name}_low', f'{name}_high'), found, strict=True))


def _steps(df, target):
  if 'validation/accuracy' not in df or np.isnan(target):
    return {'steps': np.nan, 'reached': np.nan}
  steps = statistics.steps_to(df, 'validation/accuracy', target).steps
  # The median of an even number would be inf - inf; the lower is a run's own.
  median = np.quantile(steps, 0.5, method='higher')
  return {'steps': median, 'reached': np.isfinite(steps).mean()}


def _distance(df):
  """At the last step, over sites and the members that did not diverge."""
  for split in ('validation/', ''):
    columns = [f'{split}{s}/distance' for s in site_names(df, split=split)]
    alive = df[df.diverged_at < 0].dropna(subset=columns, how='all')
    if columns and len(alive):
      last = alive.sort_values('step').groupby(['run', 'member'])[columns]
      # A site that only deeper networks have is NaN here.
      return np.nanmean(last.last().to_numpy())
  return np.nan


def _times(mine, base):
  """What the turns of a strategy say; the ratio is taken within rounds.

  Its speed follows from the ratio. The median of its own rounds need not: on a
  machine that others slow down the two may even disagree on who is faster.
  """
  row = dict.fromkeys(('time', 'time_low', 'time_high'), np.nan)
  if mine is None:
    return row
  if base is None:
    return row | {'steps_per_second': 1 / np.median(mine)}
  ratio = statistics.interval(mine / base, np.median)
  row = dict(zip(row, ratio, strict=True))
  return row | {'steps_per_second': 1 / (np.median(base) * ratio.point)}


class Column(NamedTuple):
  """A column as people read it."""

  name: str
  """The column of `table` that orders it."""
  heading: str
  unit: str
  short: str
  """Heading for a terminal, in lines."""
  show: Callable
  """From a row of `table` to text."""


def _percent(value):
  return f'{100 * value:.1f}'


def _with_ends(name, show):
  def text(row):
    low, high = row[f'{name}_low'], row[f'{name}_high']
    if np.isnan(row[name]):
      return '-'
    if low == high:
      return show(row[name])
    return f'{show(row[name])} [{show(low)}, {show(high)}]'

  return text


def _steps_text(row):
  if np.isnan(row.reached):
    return '-'
  steps = 'never' if np.isinf(row.steps) else f'{row.steps:,.0f}'
  return steps + (f' ({100 * row.reached:.0f}%)' if row.reached < 1 else '')


def _seconds_text(row):
  if not np.isfinite(row.seconds):
    return '-'
  return format(row.seconds, ',.1f' if row.seconds >= 1 else '.2g')


def _undone_text(row):
  return '-' if np.isnan(row.undone) else f'{100 * row.undone:.0f}'


def _plain(name, form):
  return lambda r: '-' if np.isnan(r[name]) else format(r[name], form)


def columns(found) -> list[Column]:
  """The columns that have something to say."""
  goal = f'{100 * found.attrs.get("target", np.nan):.0f}%'
  reference = found.attrs.get('reference', 'none')
  shown = [
    Column('accuracy', 'test accuracy', '% [95%]', 'test acc.\n% [95%]',
           _with_ends('accuracy', _percent)),
    Column('loss', 'test loss', 'nats', 'test\nloss', _plain('loss', '.3f')),
    Column('steps', f'steps to {goal}', 'median; runs that reach it',
           f'steps\nto {goal}', _steps_text),
    Column('seconds', f'time to {goal}', 's of machine per run',
           f'time to\n{goal}, s', _seconds_text),
    Column('distance', 'distance from N(0, 1)', 'std. dev.', 'from\nN(0,1)',
           _plain('distance', '.3f')),
    Column('undone', 'undone', '%', 'undone\n%', _undone_text),
    Column('diverged', 'diverged', 'of runs', 'failed\nruns',
           lambda r: f'{r.diverged:.0f}/{r.seeds:.0f}'),
    Column('parameters', 'parameters', '', 'param-\neters',
           _plain('parameters', ',.0f')),
    Column('steps_per_second', 'speed', 'steps/s', 'steps\nper s',
           _plain('steps_per_second', ',.0f')),
    Column('time', 'time per step', f'x {reference} [95%]',
           f'time\nx {reference}',
           _with_ends('time', '{:.2f}'.format)),
  ]  # fmt: skip
  return [c for c in shown if found[c.name].notna().any()]


def short(variant) -> str:
  """`depth=8` of `model.depth=8`."""
  return re.sub(r'\w+\.(?=[\w.]*=)', '', variant)


def cells(found, shown=None) -> tuple[list[str], list[list[str]]]:
  """Headings and rows of text, strategy (and variant) first."""
  shown = columns(found) if shown is None else shown
  variants = any(variant for _, variant in found.index)
  start = ['strategy', 'variant'] if variants else ['strategy']
  heads = [f'{c.heading} ({c.unit})' if c.unit else c.heading for c in shown]
  rows = [
    [*(name, short(variant))[: len(start)], *(c.show(row) for c in shown)]
    for (name, variant), row in found.iterrows()
  ]
  return start + heads, rows


def of_study(study):
  """`table` of a `study.Study`."""
  return table(
    study.final,
    study.summaries,
    times=study.times,
    target=study.target,
    chance=study.chance,
    strategies=study.strategies,
    reference=study.reference,
  )
