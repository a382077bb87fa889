"""Whether two runs of one study agree, number by number."""

from typing import NamedTuple

import numpy as np

from bn_jax import results, statistics

# On another platform or version: mean final scores may differ by this much,
# and by so many standard errors of their difference within seeds.
TOLERANCE = 0.02
STANDARD_ERRORS = 2
# What must be the same for every number to be.
PLACE = ('bn_jax', 'commit', 'python', 'machine', 'cores', 'devices',
         'processes', 'packages')  # fmt: skip
PHASES = ('tune', 'final', 'rates')
KEYS = ['run', 'member', 'step']


class Verdict(NamedTuple):
  """Whether the studies agree, in a sentence."""

  agree: bool
  sentence: str


def compare(first, second) -> Verdict:
  """Holds a study against one that ran again.

  Every metric of every run, member and step is compared, and when it diverged;
  times are not. Where platform, versions and commit are the same the numbers
  must be equal; elsewhere the mean final score of each strategy and variant
  must agree within `TOLERANCE` and `STANDARD_ERRORS`.

  Args:
    first: Workdir of the study.
    second: Workdir of its repetition.

  Raises:
    UserError: If a folder has no runs, or a file is corrupt.
  """
  a, b = results.load(first), results.load(second)
  count, difference = _first_difference(a, b)
  place = _place(first, second)
  if not difference:
    return Verdict(
      True,
      f'the studies agree: all {count:,} numbers of {a.run.nunique()} runs are'
      f' equal{f", though {place}" if place else ""}',
    )
  if not count:
    return Verdict(False, f'the studies do not agree: {difference}')
  if not place:
    return Verdict(
      False,
      f'the studies do not agree: {difference}; platform, versions and commit'
      ' are the same, so they should be equal',
    )
  name, gap, allowed = _worst(a, b)
  agree = bool(gap <= allowed)
  return Verdict(
    agree,
    f'the studies {"agree" if agree else "do not agree"}: every mean test'
    f' accuracy should be within {100 * TOLERANCE:g} points and'
    f' {STANDARD_ERRORS} standard errors, and {name} is'
    f' {100 * gap:.2f} points off where {100 * allowed:.2f} are allowed;'
    f' {place}, and {difference}',
  )


def _first_difference(a, b):
  """How many numbers there are, and where they first differ, in words."""
  ignored = {*KEYS, 'phase', 'strategy', 'variant'}
  # Text is of the config, which is the same.
  numbers = {c for df in (a, b) for c in df.select_dtypes(['number', 'bool'])}
  names = sorted(numbers - ignored)
  a, b = (_in_order(df).reindex(columns=names) for df in (a, b))
  if not a.index.equals(b.index):
    odd = a.index.symmetric_difference(b.index)[0]
    side = 'first' if odd in a.index else 'second'
    return 0, f'{_where(odd)} is in the {side} alone'
  x, y = (df.to_numpy(np.float64) for df in (a, b))
  count = int((~np.isnan(x)).sum())
  rows, columns = np.nonzero((x != y) & ~(np.isnan(x) & np.isnan(y)))
  if not len(rows):
    return count, ''
  row, column = rows[0], columns[0]
  return count, (
    f'{len(rows):,} of {count:,} numbers differ, first {names[column]} at'
    f' {_where(a.index[row])}: {x[row, column]:.9g} and {y[row, column]:.9g}'
  )


def _in_order(df):
  """As they came about: tuning first, then by run, step and member."""
  phase = df.phase.map({name: i for i, name in enumerate(PHASES)})
  df = df.assign(_phase=phase).sort_values(['_phase', 'run', 'step', 'member'])
  return df.drop(columns='_phase').set_index(KEYS)


def _where(index):
  run, member, step = index
  return f'step {step} of member {member} of {run}'


def _place(first, second):
  """What differs of where the numbers were made, in words; '' if nothing.

  A run that was resumed elsewhere has numbers of more than one place.
  """
  places = [*results.environments(first), *results.environments(second)]
  odd = [
    name
    for name in PLACE
    if any(place.get(name) != places[0].get(name) for place in places)
  ]
  return f'{_and(odd)} differ{"s" * (len(odd) == 1)}' if odd else ''


def _and(names):
  return ' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))


def _worst(a, b):
  """The case that takes most of its tolerance: name, gap and tolerance."""
  scores = [_scores(df) for df in (a, b)]
  found = []
  for case, there in scores[0].groupby(['strategy', 'variant']):
    here = scores[1].set_index(['strategy', 'variant', 'seed']).score
    pairs = there.set_index(['strategy', 'variant', 'seed']).score
    gaps = (here.reindex(pairs.index) - pairs).to_numpy()
    error = gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    gap = abs(gaps.mean())
    gap = np.inf if np.isnan(gap) else gap
    allowed = TOLERANCE + STANDARD_ERRORS * np.nan_to_num(error)
    found.append((' '.join(filter(None, case)), gap, allowed))
  return max(found, key=lambda one: one[1] / one[2])


def _scores(df):
  final = df[df.phase == 'final']
  return statistics.finals(final, 'test/accuracy')
