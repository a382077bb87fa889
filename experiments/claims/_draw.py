"""What the claims' figures share: panels, colours, legends, error bars."""

import matplotlib as mpl
import numpy as np

from bn_jax import statistics
from bn_jax.plots import style

BLUE, ORANGE, GREEN, GREY, PINK = (
  '#0072b2', '#d55e00', '#009e73', '#6f6f6f', '#cc79a7',
)  # fmt: skip
COLORS = [BLUE, ORANGE, GREEN, GREY, PINK, '#e69f00', '#56b4e9', '#882255']


def panels(columns: int = 2, rows: int = 1, height: float = 2.7, **options):
  """A figure of rows x columns and its axes, (rows, columns)."""
  fig, axes = style.figure(
    height * rows + 0.4, min(7.4, 3.6 * columns), nrows=rows, ncols=columns,
    squeeze=False, **options,
  )  # fmt: skip
  return fig, axes


def label(ax, y: str, x: str = 'step', **scales):
  """Says what the axes are: the vertical one above the panel."""
  ax.set_title(y, loc='left', fontsize=9)
  ax.set_xlabel(x)
  ax.set(**scales)


def legend(fig, ax, columns: int = 3):
  """One legend below the panels, of what `ax` shows."""
  handles, names = ax.get_legend_handles_labels()
  fig.legend(
    handles, names, loc='outside lower center', ncols=columns, frameon=False,
    fontsize=8.5,
  )  # fmt: skip


def band(ax, x, samples, name, color, mark='o-', **options):
  """The mean over seeds with its 95% interval; samples are (seeds, x)."""
  samples = np.asarray(samples, np.float64)
  found = statistics.interval(samples, num_resamples=999)
  with mpl.rc_context({'lines.markersize': 4}):
    ax.plot(x, found.point, mark, color=color, label=name, **options)
  ax.fill_between(x, found.low, found.high, color=color, alpha=0.2, lw=0)


def dots(ax, at, samples, color, name=None, mark='o'):
  """Each seed as a dot at a place, and their mean as a line."""
  samples = np.asarray(samples, np.float64)
  ax.plot(
    np.full(len(samples), at), samples, mark, color=color, label=name,
    markersize=4, alpha=0.6, markeredgewidth=0,
  )  # fmt: skip
  mean = samples.mean()
  ax.plot([at - 0.14, at + 0.14], [mean, mean], '-', color=color, linewidth=2)


def heat(ax, shares):
  """Shares from 0 to 1 as a map with each in %, the first row at the bottom."""
  percent = 100 * np.asarray(shares)
  image = ax.imshow(
    percent, cmap='cividis', vmin=0, vmax=100, aspect='auto', origin='lower'
  )
  for (i, j), value in np.ndenumerate(percent):
    ax.text(
      j, i, f'{value:.0f}', ha='center', va='center', fontsize=7.5,
      color='white' if value < 60 else style.INK,
    )  # fmt: skip
  ax.grid(False)
  return image


def names(ax, labels, rotation=0):
  """Writes names along the horizontal axis, at 0, 1, 2, ..."""
  side = {'ha': 'right', 'rotation_mode': 'anchor'} if rotation else {}
  ax.set_xticks(range(len(labels)), labels, rotation=rotation, **side)
  ax.grid(False, axis='x')
