"""Figures as files, and as elements of a page whose values can be read off."""

import io
import json
import re

import matplotlib as mpl

from bn_jax.plots import style

POINTS_PER_INCH = 72  # SVG's unit in matplotlib


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


def inline(svg, name, title):
  """An SVG as an element of a page, whose colours are the page's variables."""
  svg = svg[svg.index('<svg') :]
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
  # Several figures share a page: ids must differ, and size is the page's.
  svg = re.sub(r'(\bid="|url\(#|href="#)', rf'\1{name}-', svg)
  svg = re.sub(r' (width|height)="[\d.]+pt"', '', svg, count=2)
  svg = svg.replace('<svg', f'<svg role="img" aria-label="{title}"', 1)
  for color in palette():
    svg = svg.replace(color, variable(color))
  return svg


def palette():
  """Every colour that the page may change in the dark."""
  looks = [*style.FIXED.values(), *style.OTHERS]
  return list(dict.fromkeys([style.INK, style.GRID, *(s.color for s in looks)]))


def variable(color):
  """A colour as the page's variable of it."""
  return f'var(--c{color[1:]}, {color})'


def hover(fig):
  """What a pointer over a laid-out figure should show, as JSON; or ''.

  Positions are in the SVG's units, values are text.
  """
  axes = {}
  for line in style.series(fig):
    axes.setdefault(line.ax, []).append(_series(fig, line))
  found = [
    {'box': _box(fig, ax), 'x': _across(ax), 'series': series}
    for ax, series in axes.items()
  ]
  # The page's parser would take this for the end of the script.
  return json.dumps(found).replace('</', '<\\/') if found else ''


def _across(ax):
  """The name of the horizontal axis; of panels the lowest has it."""
  sharing = ax.get_shared_x_axes().get_siblings(ax)
  return next(filter(None, (a.get_xlabel() for a in [ax, *sharing])), '')


def _series(fig, line):
  percent = line.ax.get_ylabel().endswith('(%)')
  pixels = line.ax.transData.transform(
    list(zip(line.x, line.found.point, strict=True))
  )
  x, y = _to_svg(fig, pixels)
  across = 100 if line.ax.get_xlabel().endswith('(%)') else 1
  return {
    'name': line.name,
    'color': variable(line.color),
    'x': x,
    'y': y,
    'at': [f'{across * value:,.5g}' for value in line.x],
    'text': [
      f'{_say(p, percent)} [{_say(low, percent)}, {_say(high, percent)}]'
      for p, low, high in zip(*line.found, strict=True)
    ],
  }


def _say(value, percent):
  return f'{100 * value:.1f}' if percent else f'{value:.4g}'


def _box(fig, ax):
  """Left, right, top and bottom of the axes."""
  box = ax.get_window_extent()
  x, y = _to_svg(fig, [(box.x0, box.y1), (box.x1, box.y0)])
  return [*x, *y]


def _to_svg(fig, pixels):
  scale = POINTS_PER_INCH / fig.dpi
  height = fig.get_figheight() * POINTS_PER_INCH
  return (
    [round(float(x * scale), 1) for x, _ in pixels],
    [round(float(height - y * scale), 1) for _, y in pixels],
  )
