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


# What stands further down in a narrow terminal, the least urgent first.
_LATER = (
  'seconds',
  'parameters',
  'steps_per_second',
  'loss',
  'undone',
  'distance',
  'time',
)


def terminal_tables(found, width) -> list[Table]:
  """The table for `rich`, its columns in blocks of at most `width` letters."""
  built, left = [], columns(found)
  while left:
    shown = left
    for name in _LATER:
      if len(shown) == 1 or _width(found, shown) <= width:
        break
      shown = [c for c in shown if c.name != name] or shown
    built.append(_rich(found, shown))
    left = [c for c in left if c not in shown]
  return built


def _width(found, shown):
  return Console(width=1000).measure(_rich(found, shown)).maximum


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
  for block in terminal_tables(of_study(study), console.width):
    console.print(block)
    console.print()
  seeds = study.final.drop_duplicates(['run', 'member']).groupby(
    ['strategy', 'variant']
  )
  warning = statistics.trust(int(seeds.size().min()))
  if warning:
    console.print(warning)
