"""The figures of a report: which, in which order, and as SVG for a page."""

import io
import re
from collections.abc import Callable
from typing import NamedTuple

import matplotlib as mpl

from bn_jax import plots
from bn_jax.errors import UserError
from bn_jax.plots import style


class Panel(NamedTuple):
  """A figure of the report."""

  name: str
  title: str
  caption: str
  draw: Callable


def panels(study) -> list[Panel]:
  """What a `study.Study` can show; the first belongs to the verdict."""
  final, tune, chance = study.final, study.tune, study.chance
  band = 'Mean over seeds with 95% bootstrap interval'
  found = [
    Panel(
      'scores', style.label(study.metric).capitalize(),
      'Dots: seeds; crosses: runs that diverged; symbol and bar: mean with'
      ' 95% bootstrap interval.',
      lambda: plots.dots(final, study.metric, chance=chance),
    ),
  ]  # fmt: skip
  for metric in ('validation/accuracy', 'train/loss', 'train/undone'):
    found.append(
      Panel(
        metric.replace('/', '_'), style.label(metric).capitalize(),
        f'{band}; runs that diverged stay in it at chance level.',
        lambda metric=metric: plots.curves(final, metric, chance=chance),
      )
    )  # fmt: skip
  found += [
    Panel(
      'sensitivity', 'Learning-rate sensitivity',
      'Tuning runs: final validation accuracy over the learning rate.',
      lambda: plots.sensitivity(tune, chance=chance),
    ),
    Panel(
      'profile', 'Performance profile',
      'Share of runs that reach at least the accuracy on the axis.',
      lambda: plots.profile(final, study.metric, chance=chance),
    ),
    Panel(
      'best_after_trials', 'Best after k tuning trials',
      'Expected best validation accuracy of a user with a budget of k trials.',
      lambda: plots.best_after_trials(tune, chance=chance),
    ),
    Panel(
      'sites_along_depth', 'Distance from normalized along depth',
      'At the end of training, on held-out data where measured: root mean'
      ' over units of m² + (s - 1)²; 0 is mean 0 and variance 1.',
      lambda: plots.along_depth(final),
    ),
    Panel(
      'sites_over_steps', 'Distance from normalized during training',
      'On training batches; a line per site.',
      lambda: plots.sites_over_steps(final),
    ),
    Panel(
      'percentiles', 'Inside a unit',
      "15th, 50th and 85th percentile of one unit's input.",
      lambda: plots.percentiles(final),
    ),
  ]  # fmt: skip
  return found + _grids(study)


def _grids(study):
  names = study.settings.get('grid') or {}
  return [
    Panel(
      f'grid_{y}'.replace('.', '_'), f'Learning rate and {y}',
      'Tuning runs: mean final validation accuracy.',
      lambda y=y: plots.heat_map(study.tune, y=y, chance=study.chance),
    )
    for y in study.df.columns if y in set(_dotted(names))
  ]  # fmt: skip


def _dotted(tree, prefix=''):
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _dotted(value, f'{prefix}{name}.')
    else:
      yield prefix + name


def draw(panel):
  """The figure, or None where what it shows was not measured."""
  try:
    return panel.draw()
  except UserError:
    return None


def save(fig, folder, name):
  """Writes a figure as SVG and PDF; returns the SVG, whose text is text."""
  folder.mkdir(parents=True, exist_ok=True)
  fig.draw_without_rendering()
  fig.set_layout_engine('none')  # It is laid out; that is half of the time.
  buffer = io.StringIO()
  rc = {'svg.hashsalt': name, 'svg.fonttype': 'none', 'pdf.fonttype': 42}
  with mpl.rc_context(rc):
    fig.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    fig.savefig(folder / f'{name}.pdf', metadata={'CreationDate': None})
  (folder / f'{name}.svg').write_text(buffer.getvalue(), encoding='utf-8')
  return buffer.getvalue()


def inline(svg, name):
  """An SVG as an element of a page, whose colours are the page's variables."""
  svg = svg[svg.index('<svg') :]
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
  # Several figures share a page: ids must differ, and size is the page's.
  svg = re.sub(r'(\bid="|url\(#|href="#)', rf'\1{name}-', svg)
  svg = re.sub(r' (width|height)="[\d.]+pt"', '', svg, count=2)
  svg = svg.replace('<svg', f'<svg role="img" aria-label="{name}"', 1)
  for color in palette():
    svg = svg.replace(color, f'var(--c{color[1:]}, {color})')
  return svg


def palette():
  """Every colour that the page may change in the dark."""
  looks = [*style.FIXED.values(), *style.OTHERS]
  return list(dict.fromkeys([style.INK, style.GRID, *(s.color for s in looks)]))
