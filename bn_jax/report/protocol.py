"""What was done, and where: all that a reader needs to judge or repeat it."""

from bn_jax.report import study as study_lib
from bn_jax.report.tables import of_study


def protocol(study) -> list[tuple[str, str]]:
  """What was done, as (name, value) pairs.

  Args:
    study: a `study.Study`.
  """
  settings = study.settings
  pairs = [
    ('budget', _budget(study)),
    ('seeds reported', _seeds(study.final)),
    ('seeds that tuned', _seeds(study.tune)),
    *_spaces(study),
    ('learning-rate curve', _rates(settings.get('rates'))),
    ('grid', _grid(settings.get('grid') or {})),
    ('target', f'validation accuracy {100 * study.target:.0f}%'),
    ('reference', _reference(study)),
    ('scope of the statistics', _scopes(study)),
    ('parameters', _parameters(study)),
    ('time', _timing(study)),
  ]
  pairs += [
    (f'chosen: {" ".join(filter(None, (c["strategy"], c["variant"])))}',
     c['hparams'])
    for c in study.choices
  ]  # fmt: skip
  return [(name, _say(value)) for name, value in pairs if value]


def _budget(study):
  """The same for every strategy; sizes that the grid varies are in it."""
  settings = study.settings
  if not settings:
    return ''
  sizes = [
    f'{_range(values)} {name}'
    for name, values in (
      ('steps', {c.get('num_train_steps') for c in _configs(study)}),
      ('examples a batch', {c.get('batch_size') for c in _configs(study)}),
    )
    if values - {None}
  ]
  trials, tuning, seeds = (
    settings.get(name) for name in ('trials', 'tuning_seeds', 'seeds')
  )
  each = f'; a run is {", ".join(sizes)}' if sizes else ''
  return (
    f'{trials} trials with {tuning} seed{"s" * (tuning != 1)} each to tune a '
    f'strategy, then {seeds} seeds{each}'
  )


def _configs(study):
  return list(study.config.get('cases', {}).values())


def _reference(study):
  return study_lib.present(study.reference, study.strategies)


def _range(values):
  low, high = min(values), max(values)
  return f'{low:,}' if low == high else f'{low:,} to {high:,}'


def _spaces(study):
  """What all tune, and what each strategy tunes of its own."""
  shared = study.settings.get('search')
  own = {c['strategy']: c.get('search', {}).get('own') for c in study.choices}
  return [
    ('search space of all', shared and f'log-uniform in {_say(shared)}'),
    *(
      (f'search space of {name}', f'besides, log-uniform in {_say(space)}')
      for name, space in own.items()
      if space
    ),
  ]


def _grid(grid, prefix=''):
  """Its values one by one: two of them are no range."""
  return '; '.join(
    _grid(values, f'{prefix}{name}.')
    if isinstance(values, dict)
    else f'{prefix}{name} {", ".join(map(str, values))}'
    for name, values in grid.items()
  )


def _rates(rates):
  if not rates:
    return ''
  low, high, count = rates
  return (
    f'{count} learning rates from {low:g} to {high:g} with every reported'
    ' seed, other hyperparameters as chosen'
  )


def _scopes(study):
  """Over which examples a strategy that takes statistics does so."""
  found = []
  for config in _configs(study) or [study.config]:
    mesh, batch = config.get('mesh', {}), config.get('batch_size')
    if not mesh:
      continue
    devices = mesh.get('data', 1)
    said = f'global: the whole batch of {batch} examples'
    if mesh.get('statistics') == 'local' and devices > 1:
      said = f"local: a device's own {batch // devices} of {batch} examples"
    for name, fields in config.get('strategy', {}).items():
      if fields.get('ghost_batch_size'):
        said += f'; {name}: in groups of {fields["ghost_batch_size"]}'
    found.append(said)
  scopes = {s.get('statistics_scope', '') for s in study.summaries.values()}
  return '; '.join(dict.fromkeys(found)) or ', '.join(sorted(scopes - {''}))


def _parameters(study):
  counts = of_study(study).parameters.dropna()
  return ', '.join(
    f'{" ".join(filter(None, case))} {count:,.0f}'
    for case, count in counts.items()
  )


def _timing(study):
  rounds = study.settings.get('timing_rounds')
  if not (rounds and study.times):
    return ''
  return (
    f'one run per device; the strategies in turns, {rounds} rounds; the median'
    " over rounds of the ratio within each; speeds are the reference's median,"
    ' divided by that ratio'
  )


def _seeds(df):
  seeds = sorted(set(df.seed))
  if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
    return f'{seeds[0]} to {seeds[-1]}'
  return ', '.join(map(str, seeds))


def environment(study) -> list[tuple[str, str]]:
  """Where the numbers were made, as (name, value) pairs."""
  flat = []
  for name, value in study.environment.items():
    if isinstance(value, dict):
      flat += [(key, _say(inner)) for key, inner in value.items()]
    elif value not in ('', None):
      flat.append((name, _say(value)))
  return flat


def _say(value):
  if isinstance(value, dict):
    return ', '.join(f'{k} {_say(v)}' for k, v in value.items())
  if isinstance(value, list):
    return (' to ' if _is_range(value) else ', ').join(map(_say, value))
  return f'{value:g}' if isinstance(value, float) else str(value)


def _is_range(value):
  return len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
