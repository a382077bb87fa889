"""Runs the cases and writes them down."""

import math
import platform
import textwrap
from typing import NamedTuple

import flax
import jax

from experiments.conformance_suite import adapters
from experiments.conformance_suite.adapters.base import NotSupported


class Score(NamedTuple):
  """How a peer fared in a case."""

  error: float | None
  """None where the peer has no such feature."""
  passed: bool
  says: str
  """Why it has none, or the exception that it raised."""

  def cell(self):
    """The table's entry."""
    if self.error is None:
      return 'n/a'
    if math.isnan(self.error):
      return 'fails: raises'
    return f'{self.error:.0e}' if self.passed else f'fails: {self.error:.0e}'


def score(case, peer):
  """Runs one case."""
  try:
    error = case.run(peer)
  except NotSupported as reason:
    return Score(None, False, str(reason))
  except Exception as raised:  # whatever a library raises is its answer
    line = f'{type(raised).__name__}: {raised}'.splitlines()[0]
    return Score(math.nan, False, textwrap.shorten(line, 120))
  return Score(error, error <= case.tolerance, '')


def peers(names):
  """The peers that are installed, and the names of those that are not."""
  found, missing = [], []
  for name in names:
    try:
      found.append(adapters.load(name))
    except ImportError as reason:
      missing.append(f'{name} ({reason})')
  return found, missing


def run(cases, found, tell):
  """{(case, peer's name): Score}; tell is called with each finished row."""
  scores = {}
  for case in cases:
    row = {peer.name: score(case, peer) for peer in found}
    scores.update({(case, name): s for name, s in row.items()})
    tell(case, row)
  return scores


def totals(scores, peer):
  """'passed of asked' for a peer."""
  mine = [s for (_, name), s in scores.items() if name == peer.name]
  asked = [s for s in mine if s.error is not None]
  return f'{sum(s.passed for s in asked)} of {len(asked)}'


def markdown(cases, found, scores, command):
  """The report."""
  lines = [_HEAD.format(command=command), _versions(found), '']
  lines += ['| case | allowed | ' + ' | '.join(p.name for p in found) + ' |']
  lines += ['| --- | --- |' + ' --- |' * len(found)]
  total = ' | '.join(totals(scores, p) for p in found)
  lines += [f'| **passed, of those that apply** | | {total} |']
  group = None
  for case in cases:
    if case.group != group:
      group = case.group
      lines += [f'| **{group}** | |' + ' |' * len(found)]
    cells = ' | '.join(scores[case, p.name].cell() for p in found)
    lines += [f'| {case.name} | {case.tolerance:g} | {cells} |']
  lines += ['', '## Failures, and how to see them', '', _FAILURES]
  for peer in found:
    lines += _failures(cases, peer, scores)
  return '\n'.join(lines) + '\n'


_HEAD = """\
# Conformance

Made by `{command}`. Do not edit.

Every case is run against every implementation that is installed. A cell is the
error, the largest difference from a float64 reference divided by the
reference's largest value (the worst among output and gradients where a case
has several); `n/a` says that the implementation has no such feature. `allowed`
is the largest error that passes. Running statistics are held against each
library's own convention."""

_FAILURES = """\
With `import numpy as np; rng = np.random.default_rng(0)`, `x` from the list and
the call above it. One case alone: `python -m experiments.conformance
--case='its name'`."""


def _versions(found):
  rows = [f'{p.name} {p.version()}' for p in found]
  return (
    f'\nVersions: {", ".join(rows)}; JAX {jax.__version__}, Flax '
    f'{flax.__version__}, Python {platform.python_version()}, on '
    f'{jax.devices()[0].platform} ({platform.machine()}).'
  )


def _failures(cases, peer, scores):
  failed = [
    (c, scores[c, peer.name])
    for c in cases
    if scores[c, peer.name].error is not None
    and not scores[c, peer.name].passed
  ]
  if not failed:
    return ['', f'### {peer.name}', '', 'None.']
  lines = ['', f'### {peer.name}', '', '```python', peer.snippet, '```', '']
  for case, s in failed:
    found = s.says or f'error {s.error:.2g}, allowed {case.tolerance:g}'
    inputs = f': `{case.inputs}`' if case.inputs else ''
    lines += [f'- {case.group}, {case.name}{inputs} → {found}']
  return lines
