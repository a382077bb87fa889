"""Statistics of the sites: along depth, and during training."""

import re

import matplotlib as mpl
import numpy as np

from bn_jax import statistics
from bn_jax.errors import UserError
from bn_jax.plots import style
from bn_jax.plots.steps import curve_data

# Points of each line: the panels are small, and there are many lines.
MAX_POINTS = 60
# The part of viridis that stands out from white and from a dark page.
SHADES = (0.28, 0.75)


def site_names(df, statistic='distance', split=''):
  """Names of the sites that have a statistic, in the order of depth."""
  end = f'/{statistic}'
  found = [
    column.removeprefix(split).removesuffix(end)
    for column in df.columns
    if column.startswith(split + 'site') and column.endswith(end)
  ]
  return sorted(found, key=_natural)


def _natural(name):
  return [int(p) if p.isdigit() else p for p in re.split(r'(\d+)', name)]


@style.styled
def along_depth(df, statistic='distance'):
  """A statistic of each site at the end of training, along depth.

  Held-out statistics are taken where they were measured.

  Args:
    df: of `results.load`, one variant.
    statistic: 'distance', 'mean' or 'var'.

  Returns:
    A matplotlib Figure: per strategy the mean over members and 95% interval.

  Raises:
    UserError: no site has the statistic.
  """
  sites, split = _sites(df, statistic)
  fig, ax = style.figure()
  table = style.styles(df.strategy.unique())
  for name in style.ordered(table):
    mine = df[df.strategy == name]
    ends = [_last(mine, f'{split}{site}/{statistic}') for site in sites]
    shown = [i for i, end in enumerate(ends) if len(end)]
    found = [statistics.interval(ends[i]) for i in shown]
    if shown:
      band = statistics.Interval(*np.transpose(found))
      style.draw_band(ax, name, np.array(shown), band, table[name], len(shown))
  ax.set_xlabel('site, from the input up')
  ax.set_ylabel(style.site_label(statistic))
  ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
  style.legend(fig, list(table))
  return fig


def _sites(df, statistic):
  for split in ('validation/', ''):
    if site_names(df, statistic, split):
      return site_names(df, statistic, split), split
  raise UserError(f'statistic: no site has {statistic!r}')


def _last(df, column):
  if column not in df:
    return np.zeros(0)
  alive = df[df.diverged_at < 0].dropna(subset=[column]).sort_values('step')
  return alive.groupby(['run', 'member'])[column].last().to_numpy()


@style.styled
def sites_over_steps(df, statistic='distance'):
  """A statistic of each site during training: a panel per strategy.

  The mean over members that did not diverge and its 95% interval, a line per
  site, dark at the input and light at the output.

  Args:
    df: of `results.load`, one variant.
    statistic: 'distance', 'mean' or 'var'.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: no site has the statistic.
  """
  # A study over depth has columns for sites that a shallow network lacks.
  df = df.dropna(axis='columns', how='all')
  sites = site_names(df, statistic)
  if not sites:
    raise UserError(f'statistic: no site has {statistic!r}')
  names = style.ordered(df.strategy)
  fig, axes = style.panels(names, 1.7)
  alive = df[df.diverged_at < 0]
  colors = _shades()(np.linspace(0, 1, len(sites)))
  for site, color in zip(sites, colors, strict=True):
    data = _site_curves(alive, f'{site}/{statistic}')
    look = style.Style(mpl.colors.to_hex(color), '-', '')
    for ax, name in zip(axes, names, strict=True):
      if name in data:
        style.draw_band(ax, site, *data[name], look, linewidth=1.1)
  for ax in axes[-2:]:
    ax.set_xlabel('step')
  fig.supylabel(style.site_label(statistic), fontsize=9, color=style.INK)
  _site_bar(fig, axes, sites)
  return fig


def _site_curves(alive, metric):
  """`curve_data` of a site; {} where no run that is left has it."""
  if alive[metric].isna().all():
    return {}
  return curve_data(alive, metric, points=MAX_POINTS)


def _shades():
  viridis = mpl.colormaps['viridis'](np.linspace(*SHADES, 256))
  return mpl.colors.ListedColormap(viridis)


def _site_bar(fig, axes, sites):
  top = max(1, len(sites) - 1)
  mappable = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, top), _shades())
  bar = fig.colorbar(mappable, ax=axes, shrink=0.7)
  bar.ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
  bar.set_label('site, from the input up')
