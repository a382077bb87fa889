"""A picture of a study or run as a table in the terminal."""

import math
import shutil

from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bn_jax.live.files import Part, Picture

# How a study goes on; '' is a run outside a study.
PHASES = {
  'tune': 'tuning',
  'final': 'reported',
  'rates': 'over rates',
  '': 'training',
}
# Whose failures the report counts, and how the others are told.
REPORTED = ('final', '')
# In letters: of strategy and failures, of each phase, of a variant.
BASE_WIDTH, PHASE_WIDTH, VARIANT_WIDTH = 32, 24, 20
SAID = {'tune': 'in tuning', 'rates': 'over rates'}


def draw(picture: Picture):
  """A picture as a table, with what is left under it: for `rich` to print."""
  parts = picture.parts
  phases = [p for p in PHASES if any(part.phase == p for part in parts)]
  cases = list(dict.fromkeys((p.strategy, p.variant) for p in parts))
  varies = any(variant for _, variant in cases)
  # What would be cut off says nothing: then numbers stand for bars and lines.
  needed = BASE_WIDTH + PHASE_WIDTH * len(phases) + VARIANT_WIDTH * varies
  bars = shutil.get_terminal_size().columns >= needed
  table = Table(
    title=str(picture.path),
    title_justify='left',
    box=box.HEAVY_HEAD if bars else box.SIMPLE_HEAD,
    show_edge=bars,
    pad_edge=bars,
  )
  headings = ['strategy', *['variant'] * varies]
  for phase in phases:
    headings += [PHASES[phase], 'best, %' if phase == 'tune' else 'mean, %']
  for heading in headings:
    words = heading if bars else heading.replace(' ', '\n')
    table.add_column(words, no_wrap=True)
  table.add_column('failed', justify='right', no_wrap=True)
  for case in cases:
    mine = {p.phase: p for p in parts if (p.strategy, p.variant) == case}
    cells = [cell for phase in phases for cell in _cells(mine[phase], bars)]
    failed = sum(p.failed for p in mine.values() if p.phase in REPORTED)
    table.add_row(*case[: 1 + varies], *cells, str(failed or '-'))
  lines = [*_failures_elsewhere(parts, phases), _last_line(picture)]
  return Group(table, *map(Text, lines))


def _failures_elsewhere(parts, phases):
  """A line for each phase whose failures are not those of the report."""
  for phase in phases:
    counts = {}
    for part in parts:
      if part.phase == phase and part.failed and phase not in REPORTED:
        counts[part.strategy] = counts.get(part.strategy, 0) + part.failed
    if counts:
      said = ', '.join(f'{name} {n}' for name, n in counts.items())
      yield f'failed {SAID[phase]}: {said}'


def _cells(part: Part, bars: bool):
  """Progress, and the accuracy so far."""
  if not bars:
    return f'{math.floor(100 * part.share)}%', _score(part)
  bar = Table.grid(padding=(0, 1))
  bar.add_row(
    ProgressBar(total=1.0, completed=part.share, width=8),
    f'{math.floor(100 * part.share):3d}%',
  )
  return bar, _score(part)


def _score(part) -> str:
  """Of the best trial while tuning, else the mean, as soon as there is one."""
  chance = (part.summary or {}).get('chance')
  found = [chance if a is None else a for a in part.accuracies]
  if not part.step or not any(a is not None for a in found):
    return '-'
  if part.phase != 'tune':
    return _percent(found)
  size = part.seeds
  trials = [found[i : i + size] for i in range(0, len(found), size)]
  return max(map(_percent, trials), key=float)


def _percent(accuracies) -> str:
  """The mean; before it is known what a guess scores, of those that score."""
  known = [a for a in accuracies if a is not None]
  return f'{100 * sum(known) / max(1, len(known)):.1f}'


def _last_line(picture) -> str:
  if picture.ended:
    page = picture.path / 'report.html'
    return 'finished' + (f'; report: {page}' if page.exists() else '')
  steps = sum(p.members * p.total for p in picture.parts)
  done = sum(p.share * p.members * p.total for p in picture.parts)
  left = 'unknown' if picture.left is None else _span(picture.left)
  return (
    f'{done / steps:.0%} done; time left {left}; '
    f'last sign of life {_span(picture.silent)} ago'
  )


def _span(seconds) -> str:
  """`42 s`, `3 min 10 s` or `2 h 5 min`."""
  minutes, rest = divmod(round(seconds), 60)
  if not minutes:
    return f'{rest} s'
  hours, minutes = divmod(minutes, 60)
  return f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'
