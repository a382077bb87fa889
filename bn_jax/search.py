"""What a study tries: the space of each strategy, its points, the grid."""

import itertools
import math

import numpy as np
from scipy.stats import qmc

from bn_jax import strategies
from bn_jax.errors import UserError, bounded
from bn_jax.fields import flatten

# Strategies share a sequence of this many dimensions: the first are the
# shared fields, the next a strategy's own.
DIMENSIONS = 8


def spaces(settings, strategy: str) -> dict[str, dict]:
  """What a strategy tunes: {'shared' or 'own': {dotted field: (low, high)}}.

  `shared` is tuned by every strategy of the study, `own` are the `SEARCH` of
  the strategy's parts.
  """
  own = {
    f'strategy.{name}.{argument}': limits
    for name in strategy.split('+')
    for argument, limits in strategies.search(name).items()
  }
  return {'shared': flatten(settings.search), 'own': own}


def trials(settings, strategy: str) -> list[dict[str, float]]:
  """The points that a strategy tries, log-uniform and quasi-random.

  What strategies share they try at the same values: dimension i of one
  scrambled Sobol sequence belongs to the i-th shared field.
  """
  parts = spaces(settings, strategy)
  space = parts['shared'] | parts['own']
  if len(space) > DIMENSIONS:
    raise UserError(
      f'study.search: {len(space)} fields to tune; at most {DIMENSIONS}'
    )
  sobol = qmc.Sobol(DIMENSIONS, scramble=True, rng=np.random.default_rng(0))
  unit = sobol.random_base2(math.ceil(math.log2(settings.trials)))
  unit = unit[: settings.trials]
  return [
    {
      field: float(f'{low * (high / low) ** u:.4g}')
      for (field, (low, high)), u in zip(space.items(), row, strict=False)
    }
    for row in unit
  ]


def rates(settings) -> list[float]:
  """The learning rates of the sensitivity curve, ascending; [] for none."""
  if not settings.rates:
    return []
  low, high, count = settings.rates
  return [float(f'{r:.4g}') for r in np.geomspace(low, high, count)]


def cells(grid) -> list[tuple[str, dict]]:
  """The cells of a grid as (name, {dotted field: value})."""
  axes = flatten(grid)
  return [
    (
      ','.join(f'{k}={v}' for k, v in zip(axes, values, strict=True)),
      dict(zip(axes, values, strict=True)),
    )
    for values in itertools.product(*axes.values())
  ]


def check(settings) -> None:
  """Refuses a study's settings that no run can follow.

  Raises:
    UserError: Names the field, what was given and what is allowed.
  """
  for field in ('trials', 'tuning_seeds', 'seeds'):
    bounded(f'study.{field}', settings[field], least=1)
  bounded('study.timing_rounds', settings.timing_rounds, least=0)
  if not settings.strategies:
    raise UserError('--strategies: none given; at least one')
  for name in settings.strategies:
    if settings.strategies.count(name) > 1:
      raise UserError(f'--strategies: {name!r} stands twice; once is allowed')
  for field, (low, high) in flatten(settings.search).items():
    if not 0 < low <= high:
      raise UserError(
        f'study.search.{field}: ({low}, {high}); must be 0 < low <= high'
      )
  _check_rates(tuple(settings.rates))


def _check_rates(given):
  if not given:
    return
  low, high, count = given if len(given) == 3 else (0, 0, 0)
  if not (0 < low < high and isinstance(count, int) and count > 1):
    raise UserError(
      f'study.rates: {given}; must be (low, high, how many) with 0 < low < '
      'high and at least 2, or () for none'
    )
