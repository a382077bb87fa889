"""The verdict: what the comparison shows, in a few sentences."""

from bn_jax import statistics
from bn_jax.report import working

SIGNIFICANT = 0.05
MIN_PAIRS = 6  # 2 / 2**5, the least p of five, is above 0.05


def scores(study):
  """Final scores of a `study.Study`, a row per member."""
  found = statistics.finals(study.final, study.metric, chance=study.chance)
  return found.dropna(subset=['score'])


def num_seeds(study):
  """The fewest seeds that any strategy was reported with."""
  members = study.final.drop_duplicates(['run', 'member'])
  return int(members.groupby(['strategy', 'variant']).size().min())


def verdict(study):
  """Which strategy is best, by how much, and which cannot be told from it."""
  return ' '.join(filter(None, (*sentences(study), caution(study))))


def sentences(study):
  """The verdict without its caution; the first sentence can stand alone."""
  found = scores(study)
  if not len(found):
    return ['Nothing has been measured yet.']
  means = found.groupby('strategy').score.mean()
  best = means.idxmax()
  what = study.metric.replace('/', ' ').replace('train ', 'training ')
  where = ' on average' if found.variant.nunique() > 1 else ''
  score = _interval(found[found.strategy == best])
  verb = 'reaches the highest' if len(means) > 1 else 'reaches a'
  gap, *more = _others(found, best)
  said = [f'{best} {verb} {what}{where}, {score}{gap}', *more]
  return [*filter(None, [working.headline(study)]), *said]


def strata(group):
  """Scores of one strategy, an array per variant."""
  return tuple(g.score.to_numpy() for _, g in group.groupby('variant'))


def _interval(group):
  point, low, high = statistics.interval(strata(group))
  if low == high:
    return f'{100 * point:.1f}%'
  return f'{100 * point:.1f}% [{100 * low:.1f}, {100 * high:.1f}]'


def _others(found, best):
  """How the first sentence ends, and what follows it."""
  table = statistics.paired_differences(found, best)
  table = table[table.pairs > 0]  # without a common seed there is no difference
  if not len(table):
    return ['.']
  clear = table[table.p_holm <= SIGNIFICANT]
  near = (clear if len(clear) else table).difference.idxmax()
  row = table.loc[near]
  ends = _points(-row.difference, -row.high, -row.low)
  paired = f'paired over {row.pairs:.0f} seeds'
  if len(clear):
    paired += f", Holm's p = {p_text(row.p_holm)}"
  text = f': {ends} points above {near} ({paired})'
  if row.pairs < MIN_PAIRS:
    few = f'Below {MIN_PAIRS} seeds no difference can be significant.'
    return [f'{text}.', few]
  close = [name for name in table.index if name not in clear.index]
  return [text + (f'; {_and(close)} cannot be told from it.' if close else '.')]


def _points(point, low, high):
  if low == high:
    return f'{100 * point:.1f}'
  return f'{100 * point:.1f} [{100 * low:.1f}, {100 * high:.1f}]'


def p_text(p):
  """A p-value as text."""
  return f'{p:.3f}' if p >= 0.001 else f'{p:.0e}'


def _and(names):
  return ' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))


def caution(study):
  """What the reader has to know to believe no more than is shown; or ''."""
  few = statistics.trust(num_seeds(study))
  found = scores(study)
  failed = found[found.diverged_at >= 0].groupby('strategy').size()
  said = [f'{n} of {name}' for name, n in failed.items()]
  runs = f'Runs that diverged, counted at chance: {_and(said)}.' if said else ''
  return ' '.join(filter(None, (few, runs)))
