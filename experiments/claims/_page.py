"""`claims.html`, one file without network, and the same as Markdown."""

import html
import io
import math
from importlib import resources
from string import Template

import matplotlib as mpl
import numpy as np

from bn_jax.plots import style
from bn_jax.report import svg as svg_lib
from experiments import claims
from experiments.claims import _files

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
$style
.verdict { font-weight: 700; font-size: 1.15rem; margin: 0.2rem 0 0.6rem; }
section p { max-width: 44rem; }
details pre { white-space: pre-wrap; }
</style>
</head>
<body>
<main>
<header>
<p class="kicker">$kicker</p>
<h1>$title</h1>
</header>
<p>$made</p>
$overview
$sections
<section>
<h2>Command</h2>
<pre>$command</pre>
$environment
</section>
</main>
</body>
</html>
""")
_TITLE = "The textbook's account of batch normalization, sentence by sentence"
_KICKER = (
  'A claim is supported if each of its criteria is met by the whole 95% '
  'bootstrap interval over seeds (identities: by every seed). Criteria were '
  'written before the full run; small trial runs had settled sizes, targets '
  'and thresholds.'
)


def write(folder, results, command):
  """Writes claims.html; returns its path."""
  page = _PAGE.substitute(
    title=html.escape(_TITLE),
    kicker=_KICKER,
    style=resources.files('bn_jax.report')
    .joinpath('page.css')
    .read_text(encoding='utf-8'),
    made=html.escape(made(results)),
    overview=_overview(results),
    sections='\n'.join(_section(r) for r in results),
    command=html.escape(command),
    environment=_environment(results),
  )
  return _files.write_text(folder / 'claims.html', page)


def write_doc(path, results, command):
  """Writes the results as Markdown, with SVGs in figures/claims beside it."""
  folder = _files.figures(path)
  folder.mkdir(parents=True, exist_ok=True)
  lines = [f'# {_TITLE}', '', _KICKER, '', f'    {command}', '']
  lines += [made(results), '']
  lines += ['| claim | verdict |', '| --- | --- |']
  lines += [
    f'| [{r["name"]}](#{r["name"]}) | **{r["verdict"]}** |' for r in results
  ]
  for result in results:
    name = result['name']
    _files.write_text(folder / f'{name}.svg', svg(result, background='white'))
    lines += ['', f'## {name}', '', f'> {result["sentence"]}', '']
    lines += [f'**{result["verdict"]}**', '']
    lines += [f'![{name}](figures/claims/{name}.svg)', '']
    lines += ['| what | must be | value | 95% interval | outcome |']
    lines += ['| --- | --- | --- | --- | --- |']
    lines += [
      f'| {" | ".join(cell.replace("|", "¦") for cell in row)} |'
      for row in rows(result)
    ]
    lines += ['', *(f'- {k}: {v}' for k, v in _numbers(result))]
    lines += ['', '```text', result['about'], '```', '']
    lines += [f'    {_command(name)}']
  return _files.write_text(path, '\n'.join(lines) + '\n')


def made(results) -> str:
  """When, where, with what and for how long: one line for all claims."""

  def each(get):
    found = dict.fromkeys(get(r) for r in results)
    return ', '.join(str(v) for v in found if v)

  def environment(name):
    return each(lambda r: r['environment'].get(name))

  versions = [f'bn_jax {environment("bn_jax")}']
  if environment('commit'):
    versions.append(f'commit {environment("commit")}')
  versions.append(f'Python {environment("python")}')
  names = dict.fromkeys(
    n for r in results for n in r['environment']['packages']
  )
  versions += [
    f'{n} {each(lambda r, n=n: r["environment"]["packages"].get(n))}'
    for n in names
  ]
  minutes = sum(r['seconds'] for r in results) / 60
  seeds = each(lambda r: f'{r["seeds"][0]} to {r["seeds"][-1]}')
  machine = f'{environment("machine")}, {environment("cores")} cores'
  return (
    f'Measured on {each(lambda r: r["date"])} in {minutes:.0f} minutes; '
    f'{machine}; seeds {seeds}; {", ".join(versions)}.'
  )


def rows(result) -> list[tuple[str, ...]]:
  """What, must be, value, interval, outcome: a row for each criterion."""
  found = []
  for f in result['findings']:
    every = f['rule'] == 'every'
    ends = f'{say(f["low"])} to {say(f["high"])}'
    found.append(
      (
        f['says'],
        f'{f["comparison"]} {say(f["threshold"])}'
        + (' (every seed)' if every else ''),
        say(f['value']),
        ends + (' (range)' if every else ''),
        f'{f["outcome"]} (n = {f["count"]})',
      )
    )
  return found


def say(value) -> str:
  """A number in at most three digits."""
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return 'missing'
  return f'{value:.3g}' if isinstance(value, float) else str(value)


def arrays(value):
  """What JSON made lists of, as arrays again, with NaN for null."""
  if isinstance(value, dict):
    return {k: arrays(v) for k, v in value.items()}
  if not isinstance(value, list):
    return value
  try:
    found = np.asarray(value)
    return found if found.dtype.kind in 'biu' else found.astype(np.float64)
  except (TypeError, ValueError):  # lengths differ, or words
    return [arrays(v) for v in value]


@style.styled
def svg(result, background=None) -> str:
  """A claim's figure as SVG whose text is text."""
  measured = arrays(result['measured'])
  fig = claims.load(result['name']).figure(measured)
  buffer = io.StringIO()
  rc = {'svg.hashsalt': result['name'], 'svg.fonttype': 'none'}
  options = {'facecolor': background} if background else {'transparent': True}
  with mpl.rc_context(rc):
    fig.savefig(buffer, format='svg', metadata={'Date': None}, **options)
  return buffer.getvalue()


def _overview(results):
  body = ''.join(
    f'<tr><td data-head="claim"><a href="#{r["name"]}">{r["name"]}</a></td>'
    f'<td data-head="verdict">{r["verdict"]}</td></tr>'
    for r in results
  )
  return (
    '<section><table><thead><tr><th>claim</th><th>verdict</th></tr></thead>'
    f'<tbody>{body}</tbody></table></section>'
  )


def _section(result):
  name, heads = (
    result['name'],
    ('what', 'must be', 'value', '95% interval', 'outcome'),
  )
  body = ''.join(
    '<tr>'
    + ''.join(
      f'<td data-head="{head}" style="white-space:normal">'
      f'{html.escape(cell)}</td>'
      for head, cell in zip(heads, row, strict=True)
    )
    + '</tr>'
    for row in rows(result)
  )
  head = ''.join(f'<th scope="col">{h}</th>' for h in heads)
  settings = _settings(result)
  return f"""<section id="{name}">
<h2>{name}</h2>
<p>{html.escape(result['sentence'])}</p>
<p class="verdict">{result['verdict']}</p>
<figure>{svg_lib.inline(svg(result), name, name)}</figure>
<div class="scroll"><table><thead><tr>{head}</tr></thead>
<tbody>{body}</tbody></table></div>
{_definitions(_numbers(result))}
<details><summary>Source, measurement, criterion, settings</summary>
<pre>{html.escape(result['about'])}</pre>
{_definitions(settings)}</details>
<pre>{html.escape(_command(name))}</pre>
</section>"""


def _settings(result):
  settings = result['measured'].get('settings', {})
  pairs = [(k, say(v)) for k, v in settings.items()]
  seeds = result['seeds']
  return [
    *pairs,
    ('seeds', f'{seeds[0]} to {seeds[-1]}'),
    ('seconds', say(result['seconds'])),
  ]


def _numbers(result):
  return [(k, say(v)) for k, v in result['measured'].get('numbers', {}).items()]


def _definitions(pairs):
  inner = ''.join(
    f'<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>'
    for k, v in pairs
  )
  return f'<dl>{inner}</dl>' if inner else ''


def _environment(results):
  if not results:
    return ''
  found = results[-1]['environment']
  return _definitions(
    [(k, v) for k, v in found.items() if k != 'packages' and v]
    + list(found['packages'].items())
  )


def _command(name):
  return f'python -m experiments.claims --workdir=DIR --only={name}'
