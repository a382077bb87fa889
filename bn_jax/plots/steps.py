"""Metrics over steps."""

import re

import numpy as np

from bn_jax import statistics
from bn_jax.errors import UserError
from bn_jax.plots import style

MAX_POINTS = 200


@style.styled
def curves(df, metric, *, chance=0.1, resamples=999, log=False):
  """A metric over steps: per strategy the mean over members and 95% interval.

  Members that diverged stay in the mean at chance level. Long curves are
  averaged over bins of steps.

  Args:
    df: of `results.load`, one variant.
    metric: a column, as 'validation/accuracy'.
    chance: accuracy of a guess.
    resamples: bootstrap draws of the interval.
    log: a logarithmic vertical axis.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: the metric was not measured.
  """
  data = curve_data(df, metric, chance=chance, resamples=resamples)
  fig, ax = style.figure()
  table = style.styles(data)
  for name in style.ordered(data):
    steps, found = data[name]
    style.draw_band(ax, name, steps, found, table[name])
  ax.set_xlabel('step')
  ax.set_ylabel(style.label(metric))
  if log:
    ax.set_yscale('log')
  else:
    style.percent(ax.yaxis, metric)
  ax.set_xlim(left=0)
  style.legend(fig, list(data))
  return fig


def curve_data(df, metric, *, chance=0.1, resamples=999, points=MAX_POINTS):
  """What `curves` draws: `{strategy: (steps (t,), Interval of (t,))}`.

  Of more than `points` steps, means over bins. A strategy whose runs measured
  at no step in common has none.
  """
  if metric not in df or df[metric].isna().all():
    raise UserError(f'metric: {metric} was not measured; {_measured(df)}')
  values = statistics.with_failures(df, metric, chance=chance)
  rows = df.assign(value=values).dropna(subset=['value'])
  data = {}
  for name, group in rows.groupby('strategy'):
    wide = _binned(group, points).pivot_table(
      index=['variant', 'run', 'member'], columns='step', values='value'
    )
    wide = wide.dropna(axis='columns')
    if not wide.size:
      continue
    data[name] = (
      wide.columns.to_numpy(),
      statistics.interval(wide.to_numpy(), num_resamples=resamples),
    )
  if not data:
    raise UserError(f'metric: {metric} has no step that all runs measured')
  return data


def _binned(group, points):
  """At most so many steps: longer curves as means over equal bins."""
  steps = np.unique(group.step)
  if len(steps) <= points:
    return group
  bins = np.array_split(steps, points)
  to = {step: part[-1] for part in bins for step in part}
  return group.assign(step=group.step.map(to))


@style.styled
def percentiles(df, unit=None):
  """Percentiles of one unit's values over steps: a panel per strategy.

  As Figure 1(b, c) of Ioffe & Szegedy 2015 (arXiv 1502.03167). The first member
  of each strategy that has the unit is drawn.

  Args:
    df: of `results.load`.
    unit: start of the columns `<unit>/p<percent>`, as 'site_2'; by default
      the last site that has them.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: there are no such columns.
  """
  # A study over depth has columns for sites that a shallow network lacks.
  df = df.dropna(axis='columns', how='all')
  unit = unit or _last_with_percentiles(df)
  columns = _percentile_columns(df, unit)
  names = style.ordered(df.strategy)
  fig, axes = style.figure(
    height=2.4, width=2.3 * len(names), ncols=len(names), sharey=True,
    squeeze=False,
  )  # fmt: skip
  for ax, name in zip(axes[0], names, strict=True):
    rows = df[df.strategy == name].dropna(subset=columns)
    for _, first in list(rows.groupby(['run', 'member'], sort=False))[:1]:
      _draw_percentiles(ax, first, columns, style.styles(names)[name])
    ax.set_title(name, fontsize=9)
    ax.set_xlabel('step')
  axes[0, 0].set_ylabel(f"unit's input at {unit}")
  return fig


def _last_with_percentiles(df):
  found = [m[1] for c in df if (m := re.fullmatch(r'(.*\D(\d+))/p\d+', c))]
  return max(found, key=lambda n: int(re.search(r'\d+$', n)[0]), default='site')


def _percentile_columns(df, unit):
  pattern = re.compile(re.escape(unit) + r'/p(\d+(?:\.\d+)?)')
  found = {c: pattern.fullmatch(c) for c in df.columns}
  columns = {c: float(m[1]) for c, m in found.items() if m}
  if not columns:
    raise UserError(f'unit: no columns {unit}/p<percent>; {_measured(df)}')
  return sorted(columns, key=columns.get)


def _draw_percentiles(ax, rows, columns, look):
  middle = len(columns) // 2
  for k, column in enumerate(columns):
    ax.plot(
      rows.step,
      rows[column],
      color=look.color,
      linewidth=1.6 if k == middle else 0.9,
    )
    ax.annotate(
      column.rpartition('/p')[2] + '%',
      (rows.step.iloc[-1], rows[column].iloc[-1]),
      xytext=(3, 0), textcoords='offset points', va='center', fontsize=7,
      color=style.INK, annotation_clip=False,
    )  # fmt: skip
  ax.fill_between(
    rows.step,
    rows[columns[0]],
    rows[columns[-1]],
    color=look.color,
    alpha=0.15,
    linewidth=0,
  )


def _measured(df):
  names = [c for c in df.columns if '/' in c]
  shown = ', '.join(names[:8]) + (', ...' if len(names) > 8 else '')
  return f'measured: {shown or "nothing"}'
