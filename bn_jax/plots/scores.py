"""Final scores: dots, profiles, over a field of the config, heat maps."""

import matplotlib as mpl
import numpy as np
import pandas as pd

from bn_jax import statistics
from bn_jax.errors import UserError
from bn_jax.plots import style


@style.styled
def dots(df, metric='test/accuracy', *, chance=0.1):
  """Final scores: per strategy each seed, the mean and its 95% interval.

  Args:
    df: of `results.load`.
    metric: a column; its last value per member is the score.
    chance: accuracy of a guess, which diverged members score.

  Returns:
    A matplotlib Figure.
  """
  scores = final_scores(df, metric, chance)
  names = style.ordered(scores.strategy)
  fig, ax = style.figure(height=0.7 + 0.42 * len(names))
  for row, name in enumerate(names):
    _draw_dots(ax, row, scores[scores.strategy == name], style.styles(names))
  ax.set_yticks(range(len(names)), names)
  ax.set_ylim(len(names) - 0.4, -0.6)
  ax.grid(False, axis='y')
  ax.tick_params(axis='y', length=0)
  ax.spines['left'].set_visible(False)
  ax.set_xlabel(style.label(metric))
  style.percent(ax.xaxis, metric)
  return fig


def _draw_dots(ax, row, group, table):
  look = table[group.strategy.iloc[0]]
  failed = (group.diverged_at >= 0).to_numpy()
  score = group.score.to_numpy()
  # Seeds stand a little below their mean, diverged ones as crosses.
  for which, mark in ((~failed, 'o'), (failed, 'x')):
    ax.scatter(
      score[which], np.full(which.sum(), row + 0.24), s=11, marker=mark,
      color=look.color, alpha=0.65, linewidths=0.8,
    )  # fmt: skip
  found = statistics.interval(_strata(group))
  ax.plot(found.point, row, look.marker, color=look.color, markersize=5)
  if found.low < found.high:
    # Ends taller than the mean's symbol: a short bar would hide behind it.
    ax.plot(
      [found.low, found.high], [row, row], color=look.color, linewidth=1.6,
      marker='|', markersize=10, markeredgewidth=1.4,
    )  # fmt: skip


def _strata(group):
  return tuple(g.score.to_numpy() for _, g in group.groupby('variant'))


def final_scores(df, metric, chance):
  """`statistics.finals` where there is a score.

  Raises:
    UserError: the metric was not measured.
  """
  if metric not in df:
    raise UserError(f'metric: {metric} was not measured')
  scores = statistics.finals(df, metric, chance=chance)
  scores = scores.dropna(subset=['score'])
  if not len(scores):
    raise UserError(f'metric: {metric} was not measured')
  return scores


@style.styled
def profile(df, metric='test/accuracy', *, chance=0.1, points=200):
  """Performance profile: the share of runs that reach each target.

  Args:
    df: of `results.load`.
    metric: a column, higher is better.
    chance: accuracy of a guess.
    points: targets along the axis.

  Returns:
    A matplotlib Figure.
  """
  scores = final_scores(df, metric, chance)
  low, high = scores.score.min(), scores.score.max()
  margin = 0.05 * (high - low) or 0.01
  targets = np.linspace(low - margin, high + margin, points)
  fig, ax = style.figure()
  table = style.styles(scores.strategy.unique())
  for name in style.ordered(table):
    mine = scores[scores.strategy == name].score.to_numpy()
    found = statistics.performance_profile(mine, targets)
    style.draw_band(ax, name, targets, found, table[name])
  ax.set_xlabel('target: ' + style.label(metric))
  ax.set_ylabel('runs that reach it (%)')
  style.percent(ax.xaxis, metric)
  ax.yaxis.set_major_formatter(
    mpl.ticker.PercentFormatter(1, symbol='', decimals=0)
  )
  style.legend(fig, list(table))
  return fig


@style.styled
def over_field(df, metric='test/accuracy', *, x='model.depth', chance=0.1):
  """The final score over a field of the config: mean and 95% interval.

  Args:
    df: of `results.load`, runs in which the field varies.
    metric: a column.
    x: the field's column, as 'model.depth' or 'batch_size'.
    chance: accuracy of a guess.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: the field does not vary, or is not a number.
  """
  scores = _with_field(df, metric, x, chance)
  fig, ax = style.figure()
  table = style.styles(scores.strategy.unique())
  for name in style.ordered(table):
    groups = scores[scores.strategy == name].groupby('field').score
    ends = [statistics.interval(g.to_numpy()) for _, g in groups]
    at = np.array(list(groups.groups))
    found = statistics.Interval(*np.transpose(ends))
    style.draw_band(ax, name, at, found, table[name], len(at))
  values = np.unique(scores.field)
  if values.min() > 0 and values.max() / values.min() >= 8:
    ax.set_xscale('log', base=2)
  if len(values) <= 10:
    ax.set_xticks(values, [f'{v:g}' for v in values])
  ax.set_xlabel(_field_label(x))
  ax.set_ylabel('final ' + style.label(metric))
  style.percent(ax.yaxis, metric)
  style.legend(fig, list(table))
  return fig


def _with_field(df, metric, name, chance):
  """`finals` with a column `field`."""
  if name not in df:
    raise UserError(f'{name}: it does not vary in these runs')
  if not pd.api.types.is_numeric_dtype(df[name]):
    raise UserError(f'{name}: it is not a number in these runs')
  keys = ['run', 'member']
  values = df.drop_duplicates(keys).set_index(keys)[name]
  scores = final_scores(df, metric, chance).set_index(keys)
  return scores.assign(field=values).reset_index()


def _field_label(name):
  return name.rpartition('.')[2].replace('_', ' ')


@style.styled
def best_after_trials(df, metric='validation/accuracy', *, chance=0.1):
  """What a user with a budget of k tuning trials would have got.

  Args:
    df: of `results.load`, phase 'tune', one variant; members with the same
      hyperparameters are one trial, whose score is their mean.
    metric: a column, higher is better.
    chance: accuracy of a guess.

  Returns:
    A matplotlib Figure.
  """
  scores = final_scores(df, metric, chance)
  hparams = [c for c in scores.columns if c.startswith('strategy.')]
  fig, ax = style.figure()
  table = style.styles(scores.strategy.unique())
  for name in style.ordered(table):
    mine = scores[scores.strategy == name]
    keys = ['learning_rate', *hparams]
    trials = mine.groupby(keys, dropna=False).score.mean().to_numpy()
    found = statistics.best_after_trials(trials)
    style.draw_band(ax, name, np.arange(1, len(trials) + 1), found, table[name])
  ax.set_xlabel('tuning trials')
  ax.set_ylabel('best ' + style.label(metric))
  ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
  style.percent(ax.yaxis, metric)
  style.legend(fig, list(table))
  return fig


@style.styled
def heat_map(df, metric='validation/accuracy', *, y='model.depth', chance=0.1):
  """The mean final score over the learning rate and another field.

  Args:
    df: of `results.load`.
    metric: a column.
    y: column along the vertical axis, as 'model.depth' or 'batch_size'.
    chance: accuracy of a guess.

  Returns:
    A matplotlib Figure, a panel per strategy.

  Raises:
    UserError: there is no such column, or it is not of numbers.
  """
  scores = _with_field(df, metric, y, chance)
  names = style.ordered(scores.strategy)
  fig, axes = style.panels(names, 2.0)
  limits = scores.groupby(['strategy', 'field', 'learning_rate']).score.mean()
  for ax, name in zip(axes, names, strict=True):
    grid = limits[name].unstack()
    image = _draw_grid(ax, grid, limits.min(), limits.max())
  for ax in axes[-2:]:
    ax.set_xlabel('learning rate')
  for ax in axes[::2]:
    ax.set_ylabel(_field_label(y))
  bar = fig.colorbar(image, ax=axes, shrink=0.8)
  bar.set_label('final ' + style.label(metric))
  style.percent(bar.ax.yaxis, metric)
  return fig


def _draw_grid(ax, grid, low, high):
  image = ax.imshow(
    grid, cmap='cividis', vmin=low, vmax=high, aspect='auto', origin='lower'
  )
  ax.set_yticks(range(len(grid.index)), [f'{v:g}' for v in grid.index])
  every = max(1, len(grid.columns) // 4)
  ticks = range(0, len(grid.columns), every)
  ax.set_xticks(ticks, [f'{grid.columns[i]:.2g}' for i in ticks])
  ax.grid(False)
  return image
