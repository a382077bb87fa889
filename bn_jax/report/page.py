"""`report.html`: one file, no network, and what belongs beside it."""

import html
from importlib import resources
from string import Template

import numpy as np

from bn_jax import statistics
from bn_jax.report import differences, figures, formats, protocol, svg, tables
from bn_jax.report import study as study_lib
from bn_jax.report.verdicts import caution, num_seeds, sentences


def write(workdir):
  """Writes the report of a study, finished or not, or of a single run.

  Beside `report.html` go `table.csv`, `table.md`, `table.tex` and
  `figures/*.svg` and `.pdf`.

  Args:
    workdir: the study's folder.

  Returns:
    Path of report.html.

  Raises:
    UserError: there is no run in the folder, or a file is corrupt.
  """
  study = study_lib.read(workdir)
  found = tables.of_study(study)
  _write_tables(study.path, found)
  path = study.path / 'report.html'
  path.write_text(_page(study, found), encoding='utf-8')
  return path


def _write_tables(folder, found):
  found.to_csv(folder / 'table.csv')
  (folder / 'table.md').write_text(formats.markdown(found))
  (folder / 'table.tex').write_text(formats.latex(found))


def _page(study, found):
  first, *panels = _panels(study) or ['']
  title = _title(study)
  said, *more = sentences(study)
  return Template(_asset('page.html')).substitute(
    title=html.escape(title),
    style=_asset('page.css'),
    script=_asset('page.js'),
    verdict=html.escape(said),
    notes=_paragraph(' '.join(more)) + _paragraph(caution(study)),
    picture=first,
    table=_main_table(found),
    trust=html.escape(_trust(study)),
    comparisons=_comparisons(study),
    figures='\n'.join(panels),
    protocol=_definitions(protocol.protocol(study)),
    command=html.escape(study.config.get('command', 'not recorded')),
    environment=_definitions(protocol.environment(study)),
  )


def _asset(name):
  folder = resources.files('bn_jax.report')
  return folder.joinpath(name).read_text(encoding='utf-8')


def _title(study):
  cases = study.config.get('cases', {})
  configs = [*cases.values(), study.config]
  names = {c['data']['name'] for c in configs if 'data' in c}
  on = f' on {", ".join(sorted(names))}' if names else ''
  return f'{", ".join(study.strategies)}{on}'


def _panels(study):
  drawn = []
  for panel in figures.panels(study):
    fig = figures.draw(panel)
    if fig is None:
      continue
    image = svg.save(fig, study.path / 'figures', panel.name)
    title = html.escape(panel.title)
    data = svg.hover(fig)
    drawn.append(
      f'<figure id="{panel.name}"><h3>{title}</h3>'
      + f'<div class="plot">{svg.inline(image, panel.name, title)}</div>'
      + (f'<script type="application/json">{data}</script>' if data else '')
      + f'<figcaption>{html.escape(panel.caption)}</figcaption></figure>'
    )
  return drawn


def _main_table(found):
  heads, rows = tables.cells(found)
  shown = tables.columns(found)
  start = len(heads) - len(shown)
  sort = [
    [*row[:start], *(numbers[c.name] for c in shown)]
    for row, (_, numbers) in zip(rows, found.iterrows(), strict=True)
  ]
  return _table('table', heads, rows, sort)


def _comparisons(study):
  found = differences.comparisons(study)
  if not len(found):
    return ''
  found.to_csv(study.path / 'comparisons.csv')
  heads, rows = differences.cells(found, study.target)
  return _table('comparisons', heads, rows, rows)


def _table(name, heads, rows, sort):
  """A table whose columns sort by `sort`, values or text like the rows."""
  head = ''.join(
    f'<th scope="col" aria-sort="none"><button>{_heading(h)}</button></th>'
    for h in heads
  )
  body = ''.join(
    f'<tr>{"".join(map(_cell, heads, row, keys))}</tr>'
    for row, keys in zip(rows, sort, strict=True)
  )
  return (
    f'<table id="{name}"><thead><tr>{head}</tr></thead>'
    f'<tbody>{body}</tbody></table>'
  )


def _heading(text):
  """A heading, its unit apart: a phone leaves it to the cells."""
  name, _, unit = text.rpartition(' (')
  if not name:
    return html.escape(text)
  return f'{html.escape(name)}<span class="unit"> ({html.escape(unit)}</span>'


def _paragraph(text):
  return f'<p>{html.escape(text)}</p>' if text else ''


def _cell(head, text, sort):
  if not isinstance(sort, str):
    sort = '' if np.isnan(sort) else repr(float(sort))
  # On a phone a row is a list, and each cell names its column.
  return (
    f'<td data-head="{html.escape(head)}" data-sort="{html.escape(sort)}">'
    f'{html.escape(text)}</td>'
  )


def _trust(study):
  return ' '.join(
    [
      'Values are means over seeds with 95% bootstrap intervals; steps are'
      ' medians. Runs that diverged count as failures, at chance level.',
      statistics.trust(num_seeds(study)),
    ]
  )


def _definitions(pairs):
  rows = [
    f'<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>'
    for name, value in pairs
  ]
  return f'<dl>{"".join(rows)}</dl>'
