"""Sensitivity to the learning rate."""

import numpy as np

from bn_jax import statistics
from bn_jax.plots import style
from bn_jax.plots.scores import final_scores

ACCURACY = 'validation/accuracy'


@style.styled
def sensitivity(df, metric=ACCURACY, *, chance=0.1, target=None):
  """The final score over the learning rate: mean and 95% interval.

  Where a strategy has other hyperparameters that vary, each learning rate is
  shown with the values of them that are best on average there. A loss above
  that of a guess counts as a guess's.

  Args:
    df: of `results.load`, with several learning rates (phase 'rates', 'tune').
    metric: a column.
    chance: accuracy of a guess.
    target: a validation accuracy; bars below then show the widest range of
      learning rates whose mean reaches it, with the range's decades.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: the metric was not measured.
  """
  found = _curves(df, metric, chance)
  table = style.styles(found)
  bars = 0.35 + 0.16 * len(table) if target else 0
  fig, axes = style.figure(
    3.0 + bars, nrows=2 if target else 1, sharex=True, squeeze=False,
    height_ratios=[2.6, bars] if target else None,
  )  # fmt: skip
  ax, last = axes[0, 0], axes[-1, 0]
  for name in style.ordered(table):
    rates, ends = found[name]
    style.draw_band(ax, name, rates, ends, table[name], len(rates))
  if target and metric == ACCURACY:
    ax.axhline(target, color=style.INK, linewidth=0.7, linestyle=':')
  if target:
    found = found if metric == ACCURACY else _curves(df, ACCURACY, chance)
    _draw_ranges(last, found, table, target)
  ax.set_xscale('log')
  last.set_xlabel('learning rate')
  ax.set_ylabel('final ' + style.label(metric))
  style.percent(ax.yaxis, metric)
  style.legend(fig, list(table))
  return fig


def _curves(df, metric, chance):
  """`statistics.by_learning_rate` of each strategy that has scores."""
  scores = final_scores(df, metric, chance)
  loss = metric.endswith('loss')
  if loss:
    guess = statistics.failure(metric, chance)
    scores = scores.assign(score=scores.score.clip(upper=guess))
  return {
    name: statistics.by_learning_rate(mine, loss)
    for name, mine in scores.groupby('strategy')
  }


def _draw_ranges(ax, curves, table, target):
  names = [name for name in style.ordered(table) if name in curves]
  for row, name in enumerate(names):
    rates, found = curves[name]
    works = statistics.working_range(rates, found.point, target)
    text = f' {works.decades:.1f} decades{" or more" * works.open}'
    if np.isnan(works.low):
      works, text = works._replace(low=rates[0], high=rates[0]), ' none'
    ends = [works.low, works.high]
    color = table[name].color
    ax.plot(ends, [row, row], color=color, linewidth=5, solid_capstyle='butt')
    # Outside on the side with room, for a bar may reach the end of the axis.
    left = works.high > np.sqrt(rates[0] * rates[-1]) < works.low
    ax.annotate(
      text.strip() + ' ' if left else text, (ends[not left], row),
      xytext=(-2 if left else 2, 0), textcoords='offset points',
      ha='right' if left else 'left', va='center', fontsize=7.5,
      annotation_clip=False,
    )  # fmt: skip
  ax.set_ylim(len(names) - 0.4, -0.6)
  ax.set_yticks([])
  ax.grid(False, axis='y')
  said = f'reach\n{100 * target:.0f}%'
  ax.set_ylabel(said, rotation=0, ha='right', va='center')
