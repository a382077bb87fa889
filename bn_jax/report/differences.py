"""Each strategy against a reference: what a reviewer asks for."""

import numpy as np
import pandas as pd

from bn_jax import statistics
from bn_jax.report import study as study_lib
from bn_jax.report import verdicts, working


def comparisons(study):
  """Estimates, differences and probabilities, per strategy.

  Args:
    study: a `study.Study`.

  Returns:
    A DataFrame indexed by strategy: `mean`, `iqm` (interquartile mean),
    `difference` (to the reference, within seeds), `probability` (that a run
    beats one of the reference), each with `_low` and `_high` (95%, stratified
    over variants); `p`, `p_holm`, `pairs` of the difference; `working_decades`,
    `working_low`, `working_high`, `working_open` (the widest range of learning
    rates that reach the study's target on average: of the learning-rate curve,
    then with `working_decades_low` and `_high`, else of the tuning runs).
    `attrs` has the `reference`. NaN where there is nothing to say.
  """
  scores = verdicts.scores(study)
  names = [n for n in study.strategies if n in set(scores.strategy)]
  if not names:
    return pd.DataFrame()
  reference = study_lib.present(study.reference, names)
  strata = {n: verdicts.strata(scores[scores.strategy == n]) for n in names}
  paired = statistics.paired_differences(scores, reference)
  paired = paired.rename(
    columns={'low': 'difference_low', 'high': 'difference_high'}
  )
  rows = {name: _row(strata[name]) for name in names}
  for name in names:
    if name != reference:
      rows[name] |= paired.loc[name].to_dict()
      rows[name] |= _named('probability', _beats(strata, name, reference))
    rows[name] |= working.working(study, name)
  table = pd.DataFrame.from_dict(rows, orient='index').rename_axis('strategy')
  table.attrs['reference'] = reference
  return table


def _row(strata):
  mean = _named('mean', statistics.interval(strata))
  return mean | _named('iqm', statistics.interval(strata, statistics.iqm))


def _named(name, found):
  names = (name, f'{name}_low', f'{name}_high')
  return dict(zip(names, found, strict=True))


def _beats(strata, name, reference):
  a, b = strata[name], strata[reference]
  if len(a) != len(b):
    a, b = np.concatenate(a), np.concatenate(b)
  return statistics.probability_of_improvement(a, b)


def cells(table, target):
  """Headings and rows of text."""
  reference = table.attrs['reference']
  heads = ['strategy', 'mean (% [95%])', 'interquartile mean (% [95%])']
  columns = [
    lambda r: _ends(r, 'mean', 100, '.1f'),
    lambda r: _ends(r, 'iqm', 100, '.1f'),
  ]
  if 'difference' in table:
    heads += [
      f'difference to {reference} (points [95%])',
      "p (Holm's)",
      f'P(beats {reference}) [95%]',
    ]
    columns += [
      lambda r: _ends(r, 'difference', 100, '+.1f'),
      lambda r: '-' if np.isnan(r.p_holm) else verdicts.p_text(r.p_holm),
      lambda r: _ends(r, 'probability', 1, '.2f'),
    ]
  if 'working_decades' in table:
    heads.append(f'learning rates that reach {100 * target:.0f}% (decades)')
    columns.append(working.text)
  rows = [
    [name, *(show(row) for show in columns)] for name, row in table.iterrows()
  ]
  return heads, rows


def _ends(row, name, scale, form):
  values = [scale * row[k] for k in (name, f'{name}_low', f'{name}_high')]
  if np.isnan(values[0]):
    return '-'
  point, low, high = (format(v, form) for v in values)
  return f'{point} [{low}, {high}]' if values[1] != values[2] else point
