"""Statistics of the sites: along depth, and during training."""

import re

import matplotlib as mpl
import numpy as np

from bn_jax import statistics
from bn_jax.errors import UserError
from bn_jax.plots import style


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

  The mean over members that did not diverge, a line per site, dark at the input
  and light at the output.

  Args:
    df: of `results.load`, one variant.
    statistic: 'distance', 'mean' or 'var'.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: no site has the statistic.
  """
  sites = site_names(df, statistic)
  if not sites:
    raise UserError(f'statistic: no site has {statistic!r}')
  names = style.ordered(df.strategy)
  fig, axes = style.panels(names, 1.7)
  colors = mpl.colormaps['viridis'](np.linspace(0, 0.85, len(sites)))
  for ax, name in zip(axes, names, strict=True):
    mine = df[(df.strategy == name) & (df.diverged_at < 0)]
    for site, color in zip(sites, colors, strict=True):
      mean = mine.groupby('step')[f'{site}/{statistic}'].mean().dropna()
      ax.plot(mean.index, mean, color=color, linewidth=1.1, label=site)
  for ax in axes[-2:]:
    ax.set_xlabel('step')
  fig.supylabel(style.site_label(statistic), fontsize=9, color=style.INK)
  _site_bar(fig, axes, sites)
  return fig


def _site_bar(fig, axes, sites):
  top = max(1, len(sites) - 1)
  mappable = mpl.cm.ScalarMappable(
    mpl.colors.Normalize(0, top / 0.85), mpl.colormaps['viridis']
  )
  bar = fig.colorbar(mappable, ax=axes, shrink=0.7)
  bar.ax.set_ylim(0, top)
  bar.ax.yaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
  bar.set_label('site, from the input up')
