"""The widest range of learning rates that work, in numbers and in words."""

import numpy as np

from bn_jax import statistics

METRIC = 'validation/accuracy'


def working(study, name) -> dict[str, float]:
  """The working range of a strategy; {} if too few rates were tried.

  {} in a study with a grid, too, whose cells each have a range of their own.

  A learning rate works if the mean final validation accuracy over seeds
  reaches the study's target; a run that diverged counts at chance.

  Args:
    study: a `study.Study`.
    name: a strategy.

  Returns:
    `working_decades`, `working_low`, `working_high`, `working_open` of
    `statistics.WorkingRange`, and the ends `working_decades_low` and `_high`
    of a 95% interval over seeds where there is a learning-rate curve.
  """
  df = study.rates if len(study.rates) else study.tune
  df = df[df.strategy == name]
  if study.grid or METRIC not in df or df.learning_rate.nunique() < 2:
    return {}
  scores = statistics.finals(df, METRIC, chance=study.chance)
  scores = scores.dropna(subset=['score'])
  rates, found = statistics.by_learning_rate(scores)
  if len(rates) < 2:
    return {}
  width = statistics.working_range(rates, found.point, study.target)
  row = {f'working_{k}': v for k, v in width._asdict().items()}
  if len(study.rates):
    by_seed = scores.pivot_table(
      index='seed', columns='learning_rate', values='score'
    )
    ends = statistics.working_decades(rates, by_seed, study.target)
    row |= {'working_decades_low': ends.low, 'working_decades_high': ends.high}
  return row


def text(row) -> str:
  """The range and its decades, from a row of `differences.comparisons`."""
  if np.isnan(row['working_low']):
    return 'none of those tried'
  least = 'at least ' if row['working_open'] else ''
  ends = f'{row["working_low"]:.2g} to {row["working_high"]:.2g}'
  return f'{ends} ({least}{decades(row)})'


def decades(row) -> str:
  """The width with its interval, as text."""
  width = row['working_decades']
  low, high = (row.get(f'working_decades_{k}', width) for k in ('low', 'high'))
  if np.isnan(low) or low == high:
    return f'{width:.1f}'
  return f'{width:.1f} [{low:.1f}, {high:.1f}]'


def headline(study) -> str:
  """A sentence on the learning-rate curves, or ''."""
  if not len(study.rates):
    return ''
  rows = {name: working(study, name) for name in study.strategies}
  rows = {name: row for name, row in rows.items() if row}
  order = sorted(rows, key=lambda n: rows[n]['working_decades'], reverse=True)
  goal = f'{100 * study.target:.0f}%'
  if not order:
    return ''
  if np.isnan(rows[order[0]]['working_low']):
    return f'No strategy reaches {goal} at any learning rate that was tried.'
  best, *others = order
  row = rows[best]
  said = ', '.join(f'{name} {decades(rows[name])}' for name in others)
  return (
    f'{best} reaches {goal} over the widest range of learning rates,'
    f' {"at least " * row["working_open"]}{decades(row)} decades'
    f' ({row["working_low"]:.2g} to {row["working_high"]:.2g})'
    f'{f"; {said}" if said else ""}.'
  )
