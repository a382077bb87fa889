"""What a study tries: the space of each strategy, its points, the grid."""

import itertools
import math

import numpy as np
from scipy.stats import qmc

from bn_jax import config as config_lib
from bn_jax import strategies
from bn_jax.errors import UserError, bounded
from bn_jax.fields import check_kinds, flatten, nearest

# Strategies share a sequence of this many dimensions: the first are the
# shared fields, the next a strategy's own.
DIMENSIONS = 8
_FREE = ('search', 'grid')  # whose fields are the study's choice
RATE = 'optimizer.learning_rate'
STUDYS_OWN = {'seed': 'study.seeds', 'strategies': 'study.strategies'}


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
  _check_kinds(settings)
  for field in ('trials', 'tuning_seeds', 'seeds'):
    bounded(f'study.{field}', settings[field], least=1)
  bounded('study.timing_rounds', settings.timing_rounds, least=0)
  if not settings.strategies:
    raise UserError('--strategies: none given; at least one')
  for name in settings.strategies:
    if not isinstance(name, str):
      raise UserError(f'--strategies: {name!r}; must be a name')
    if settings.strategies.count(name) > 1:
      raise UserError(f'--strategies: {name!r} stands twice; once is allowed')
  for field, limits in flatten(settings.search).items():
    given = tuple(limits) if isinstance(limits, list | tuple) else limits
    if not _are_numbers(given, 2) or not 0 < given[0] <= given[1]:
      raise UserError(
        f'study.search.{field}: {given!r}; must be (low, high) with '
        '0 < low <= high'
      )
  for field, values in flatten(settings.grid).items():
    _check_axis(field, values, settings)
  _check_rates(tuple(settings.rates))


def check_fields(settings, strategy: str, config) -> None:
  """Refuses to tune, for a strategy, what its runs could not.

  Raises:
    UserError: Names the field, what was given and what is allowed.
  """
  shared = flatten(settings.search)
  config_lib.check_numbers(config, shared, 'study.search.')
  for field, limits in shared.items():
    for end in limits:
      bounded(f'study.search.{field}', end, **config_lib.BOUNDS.get(field, {}))
  own = spaces(settings, strategy)['own']
  config_lib.check_numbers(config, own, 'SEARCH of ')
  for field in flatten(settings.grid).keys() & own.keys():
    raise UserError(
      f"study.grid.{field}: is tuned already, as SEARCH in its strategy's file "
      'says; one of the two'
    )


def vary(config, values: dict):
  """Sets the fields of a cell of the grid.

  Raises:
    UserError: For a field that is not there, or a value that it cannot have.
  """
  for field, value in values.items():
    known = flatten(config)
    if field not in known:
      raise UserError(
        f'study.grid.{field}: no such field; {nearest(field, known)}'
      )
    try:
      config.update_from_flattened_dict({field: value})
    except (TypeError, ValueError):
      raise UserError(
        f'study.grid.{field}: {value!r}; must be '
        f'{type(known[field]).__name__}, such as {known[field]!r}'
      ) from None
  return config


def _check_kinds(settings):
  for name in _FREE:
    if not hasattr(settings.get(name), 'items'):
      raise UserError(
        f'study.{name}: {settings.get(name)!r}; must be fields, nested as in a '
        "run's config"
      )
  given, known = (
    {name: value for name, value in fields.items() if name not in _FREE}
    for fields in (settings, config_lib.study())
  )
  check_kinds(given, known, 'study.')


def _are_numbers(given, count):
  return (
    isinstance(given, tuple)
    and len(given) == count
    and all(isinstance(x, int | float) for x in given)
  )


def _check_axis(field, values, settings):
  where = f'study.grid.{field}'
  if not isinstance(values, list | tuple) or not values:
    raise UserError(f'{where}: {values!r}; must be values, such as (2, 8)')
  said = list(map(str, values))
  for value in said:
    if said.count(value) > 1:
      raise UserError(f'{where}: {value} stands twice; once is allowed')
  if field in STUDYS_OWN:
    raise UserError(f'{where}: is set by {STUDYS_OWN[field]}')
  for how, others in {
    'study.search': flatten(settings.search),
    'study.rates': [RATE] * bool(settings.rates),
  }.items():
    if field in others:
      raise UserError(f'{where}: is set by {how} already; one of the two')


def _check_rates(given):
  if not given:
    return
  low, high, count = given if _are_numbers(given, 3) else (0, 0, 0)
  if not (0 < low < high and isinstance(count, int) and count > 1):
    raise UserError(
      f'study.rates: {given}; must be (low, high, how many) with 0 < low < '
      'high and at least 2, or () for none'
    )
