"""The table in Markdown and LaTeX, and for a terminal."""

import re

from rich.console import Console
from rich.table import Table

from bn_jax import statistics
from bn_jax.report import study as study_lib
from bn_jax.report.tables import cells, columns, of_study


def markdown(found) -> str:
  """The table in Markdown."""
  heads, rows = cells(found)
  rule = ['---'] + ['---:'] * (len(heads) - 1)
  lines = [' | '.join(line) for line in [heads, rule, *rows]]
  return '\n'.join(f'| {line} |' for line in lines) + '\n'


def latex(found) -> str:
  """The table in LaTeX, for `\\usepackage{booktabs}`."""
  heads, rows = cells(found)
  body = [' & '.join(map(_tex, row)) + r' \\' for row in [heads, *rows]]
  body.insert(1, r'\midrule')
  columns = 'l' + 'r' * (len(heads) - 1)
  lines = [rf'\begin{{tabular}}{{{columns}}}', r'\toprule', *body]
  return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}']) + '\n'


def _tex(text):
  escaped = re.sub(r'([_%&#$])', r'\\\1', text)
  return escaped


# What a narrow terminal leaves to the report, first to last.
_EXPENDABLE = (
  'seconds',
  'parameters',
  'steps_per_second',
  'loss',
  'undone',
  'distance',
  'time',
)


def terminal_table(found, width=None) -> Table:
  """The table for `rich`, with as many columns as fit in `width` letters."""
  shown = columns(found)
  for name in (None, *_EXPENDABLE):
    shown = [c for c in shown if c.name != name]
    built = _rich(found, shown)
    if width is None or Console(width=1000).measure(built).maximum <= width:
      break
  return built


def _rich(found, shown):
  heads, rows = cells(found, shown)
  heads[-len(shown) :] = [c.short for c in shown]
  built = Table(
    header_style='bold', box=None, pad_edge=False, padding=(0, 2, 0, 0)
  )
  for i, head in enumerate(heads):
    built.add_column(head, justify='right' if i else 'left', no_wrap=True)
  for row in rows:
    built.add_row(*row)
  return built


def print_table(workdir, console=None):
  """Prints a study's table to the terminal."""
  study = study_lib.read(workdir)
  console = console or Console()
  console.print(terminal_table(of_study(study), console.width))
  seeds = study.final.drop_duplicates(['run', 'member']).groupby(
    ['strategy', 'variant']
  )
  warning = statistics.trust(int(seeds.size().min()))
  if warning:
    console.print(warning)
