"""The look that all figures share: colours, axes, names of quantities."""

import functools
import itertools
import weakref
import zlib
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

INK = '#1b1f24'
GRID = '#d8dade'
WIDTH = 4.6  # inches; scaled to a phone's 3.6, 9 pt is still legible

_RC = {
  'font.family': 'sans-serif',
  'font.size': 9,
  'axes.labelsize': 9,
  'axes.edgecolor': INK,
  'axes.labelcolor': INK,
  'text.color': INK,
  'xtick.color': INK,
  'ytick.color': INK,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.linewidth': 0.6,
  'axes.grid': True,
  'axes.axisbelow': True,
  'grid.color': GRID,
  'grid.linewidth': 0.5,
  'legend.frameon': False,
  'legend.fontsize': 8.5,
  'lines.linewidth': 1.6,
  'lines.markersize': 5,
}


class Style(NamedTuple):
  """How a strategy is drawn; line and marker tell it apart in grey."""

  color: str
  line: object
  marker: str


# Okabe and Ito's colours, in an order of unequal lightness. No marker is a
# cross: that is a run that diverged.
FIXED = {
  'none': Style('#6f6f6f', (0, (1, 1.2)), 'd'),
  'activation_penalty': Style('#e69f00', (0, (4, 1.5)), '^'),
  'renormalize': Style('#009e73', (0, (5, 1.2, 1, 1.2)), 's'),
  'batch_norm': Style('#0072b2', '-', 'o'),
}
OTHERS = [
  Style(color, line, marker)
  for (line, marker), color in itertools.product(
    [((0, (7, 1.5)), 'D'), ((0, (2, 1)), 'v'), ('-', 'P'), ((0, (1, 2)), '*')],
    ['#d55e00', '#cc79a7', '#56b4e9', '#882255', '#7a7a00'],
  )
]


def styles(names):
  """The style of each strategy: `{name: Style}`.

  The four of the mission have theirs; any other has the one its name hashes to,
  or the next free one if another in `names` has it. So a strategy looks the
  same in every figure of a study, and nearly always in every study.
  """
  found = {name: FIXED[name] for name in names if name in FIXED}
  for name in sorted(set(names) - set(FIXED)):
    slot = zlib.crc32(name.encode())
    for offset in range(len(OTHERS)):
      style = OTHERS[(slot + offset) % len(OTHERS)]
      if style not in found.values():
        break
    found[name] = style
  return found


def ordered(names):
  """Strategies in the order of the mission, then by name; without repeats."""
  first = [n for n in FIXED if n in set(names)]
  return first + sorted(set(names) - set(first))


def styled(draw):
  """Makes a function draw in this look, whatever the user's own settings."""

  @functools.wraps(draw)
  def drawn(*args, **kwargs):
    with mpl.rc_context():
      mpl.rcdefaults()
      mpl.rcParams.update(_RC)
      return draw(*args, **kwargs)

  return drawn


def figure(height=3.0, width=WIDTH, **subplots):
  """An empty figure and its axes, without pyplot's global state."""
  fig = Figure(figsize=(width, height), layout='constrained')
  fig.get_layout_engine().set(w_pad=0.07, h_pad=0.06)
  return fig, fig.subplots(**subplots)


def panels(names, height, **subplots):
  """A grid of axes, two in a row, one for each strategy: (figure, axes).

  Axes share both scales; the lowest of each column says the steps.
  """
  rows, columns = -(-len(names) // 2), min(2, len(names))
  fig, grid = figure(
    0.6 + height * rows, nrows=rows, ncols=columns, sharex=True, sharey=True,
    squeeze=False, **subplots,
  )  # fmt: skip
  for ax in grid.flat[len(names) :]:
    ax.remove()
  axes = list(grid.flat[: len(names)])
  for ax, name in zip(axes, names, strict=True):
    ax.set_title(name, fontsize=9)
  for ax in axes[-columns:]:
    ax.tick_params(labelbottom=True)
  return fig, axes


def legend(fig, names, marker=True, line=True):
  """A legend of strategies above the axes, in one or two columns."""
  table = styles(names)
  handles = [
    Line2D(
      [],
      [],
      color=table[name].color,
      linestyle=table[name].line if line else '',
      marker=table[name].marker if marker else '',
      label=name,
    )
    for name in ordered(names)
  ]
  # The axes keep their size, however many strategies there are.
  fig.set_figheight(fig.get_figheight() + 0.17 * ((len(handles) - 1) // 2))
  fig.legend(handles=handles, loc='outside upper left', ncols=2, handlelength=3)


class Series(NamedTuple):
  """A line with its band, for whoever shows its values."""

  ax: object
  name: str
  color: str
  x: np.ndarray
  found: object
  """`statistics.Interval` of arrays like x."""


_SERIES = weakref.WeakKeyDictionary()


def series(fig) -> list[Series]:
  """The lines with bands in a figure."""
  return _SERIES.get(fig, [])


def draw_band(ax, name, x, found, look, marks=8, linewidth=None):
  """A line with its band, and markers here and there."""
  every = max(1, len(x) // marks)
  ax.plot(
    x,
    found.point,
    color=look.color,
    linestyle=look.line,
    linewidth=linewidth,
    marker=look.marker,
    markevery=(every // 2, every),
  )
  ax.fill_between(
    x, found.low, found.high, color=look.color, alpha=0.18, linewidth=0
  )
  shown = _SERIES.setdefault(ax.figure, [])
  shown.append(Series(ax, name, look.color, np.asarray(x), found))


_UNITS = {'loss': ' (nats)', 'accuracy': ' (%)'}
_SAY = {'train': 'training', 'test': 'test', 'validation': 'validation'}
_SITES = {
  'distance': 'distance from N(0, 1) (std. dev.)',
  'mean': "units' mean",
  'var': "units' variance",
}


def label(metric):
  """A metric's name and unit, as an axis says it."""
  *start, last = metric.split('/')
  if start and start[-1].startswith('site'):
    return f'{last} at {"/".join(start)}'
  if metric == 'train/undone':
    return 'undone share of the change (%)'
  said = [_SAY.get(word, word) for word in start]
  return ' '.join([*said, last]) + _UNITS.get(last, '')


def site_label(statistic):
  """A site statistic's name and unit."""
  return _SITES.get(statistic, statistic)


def percent(axis, metric):
  """Writes fractions as percentages if that is what the metric's label says."""
  if label(metric).endswith('(%)'):
    axis.set_major_formatter(
      FuncFormatter(lambda value, _: f'{100 * value:.4g}')
    )
