"""Every field of a run, once: its default and what it means."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from bn_jax import data, models, optimizers, strategies
from bn_jax.diagnostics.probes import PROBES
from bn_jax.errors import UserError, bounded, pick
from bn_jax.fields import check_kinds, flatten, nearest

DTYPES = ('float32', 'bfloat16', 'float16')
AUGMENTATIONS = ('none', 'crop_and_flip')


def default(chained: str = 'none', model: str = 'mlp') -> ConfigDict:
  """A run's config with every field at its default.

  Args:
    chained: Strategies in the order in which they act, joined by `+`, such as
      `batch_norm+adaptive_grad_clip`.
    model: A name in `bn_jax/models`.

  Raises:
    UserError: For an unknown strategy or model.
  """
  names = tuple(name for name in (chained or 'none').split('+') if name)
  config = ConfigDict()

  # The member's seed: initial parameters, order of the data, augmentation.
  config.seed = 0
  config.num_train_steps = 3000
  config.batch_size = 100
  # What the modules compute in; parameters and statistics are float32.
  config.dtype = 'float32'
  # `crop_and_flip` for images, on the device.
  config.augment = 'none'

  # The same parts for every member and strategy; see `bn_jax.data.Fields`.
  config.data = ConfigDict(data.Fields()._asdict())
  config.model = ConfigDict({'name': model, **models.defaults(model)})
  config.optimizer = ConfigDict(optimizers.DEFAULTS)

  # In the order in which they act. The fields of each are its own.
  config.strategies = names
  config.strategy = ConfigDict({n: strategies.defaults(n) for n in names})

  config.log = _log()
  config.mesh = _mesh()
  config.checkpoint = ConfigDict()
  # Seconds between checkpoints; a run shorter than that writes none.
  config.checkpoint.seconds = 60.0
  config.checkpoint.keep = 2
  return config


def _log():
  log = ConfigDict()
  # Steps per row of the curves; a row is the mean over its steps.
  log.every = 50
  # Steps between evaluations on the validation part; a multiple of `every`.
  log.eval_every = 250
  # Mean, variance and distance from normalized of each site's units. Without
  # them a run that diverges notes its step, but not its first bad site.
  log.sites = True
  # 15th, 50th and 85th percentile, mean and variance of one unit's input to
  # the nonlinearity at each site, on the last batch of a row; `unit` says
  # which.
  log.percentiles = False
  log.unit = 0
  # What else to ask of each site's normalized units on the last batch of a
  # row, by name (bn_jax/diagnostics/probes.py): ('correlation', 'wasserstein').
  log.probes = ()
  # Whether the runs that are reported score the test part, too, each time
  # that they evaluate; for a curve, never for a choice.
  log.test = False
  # Whether the curves, and histograms of the sites' units, are also written
  # as event files for TensorBoard; needs the extra `tensorboard`.
  log.tensorboard = False
  return log


def _mesh():
  mesh = ConfigDict()
  # Devices that share a batch; the others share the population.
  mesh.data = 1
  # Members that run as one `vmap`; 0 lets the platform choose.
  mesh.group = 0
  # Whose statistics a split batch is normalized with: those of the `global`
  # batch or of the device's own part (`local`).
  mesh.statistics = 'global'
  return mesh


def study() -> ConfigDict:
  """A comparison's settings with every field at its default."""
  study = ConfigDict()
  # Chains joined by `+`, in the order in which they are reported.
  study.strategies = (
    'none',
    'activation_penalty',
    'renormalize',
    'batch_norm',
  )
  # Tuning trials of each strategy, whatever it has to tune.
  study.trials = 16
  # Seeds that tune, and others that are reported.
  study.tuning_seeds = 1
  study.seeds = 10
  # What every strategy tunes: field -> (low, high), log-uniform, nested as in
  # a run's config: floats of `model`, `optimizer` and `strategy`, since trials
  # share one program. A strategy adds its own `SEARCH`.
  study.search = ConfigDict({'optimizer': {'learning_rate': (3e-2, 1e1)}})
  # Learning rates at which the chosen hyperparameters are trained besides, with
  # every reported seed: (low, high, how many), log-spaced; () for none.
  study.rates = ()
  # Fields whose values make one comparison each, nested as in a run's config
  # (a dot in a name is refused): study.grid.model = {'depth': (2, 8)}.
  study.grid = ConfigDict()
  # The accuracy on the validation part to which steps are counted.
  study.target = 0.6
  # The strategy that the others are compared with.
  study.reference = 'none'
  # How often each strategy has its turn when their time is compared; 0: never.
  study.timing_rounds = 7
  return study


# The groups whose floats may be traced.
TRACED = ('model', 'optimizer', 'strategy')

# What a field may hold besides its type: see `bn_jax.errors.bounded`.
BOUNDS = {
  'seed': {'least': 0, 'most': 2**32 - 1},
  'num_train_steps': {'least': 1, 'most': 2**31 - 1},  # int32 counts them
  'batch_size': {'least': 1},
  'data.limit': {'least': 0},
  'data.image_size': {'least': 0},
  'optimizer.learning_rate': {'least': 0},
  'optimizer.momentum': {'least': 0, 'below': 1},
  'optimizer.weight_decay': {'least': 0},
  'optimizer.warmup_steps': {'least': 0},
  'log.every': {'least': 1},
  'log.eval_every': {'least': 1},
  'log.unit': {'least': 0},
  'mesh.data': {'least': 1},
  'mesh.group': {'least': 0},
  'checkpoint.seconds': {'least': 0},
  'checkpoint.keep': {'least': 1},
}


def validate(config: Mapping) -> None:
  """Checks what the types of the fields cannot.

  Raises:
    UserError: Names the first field that is out of range.
  """
  given = flatten(config)
  if given.get('model.name'):
    _check_model(given['model.name'], config['model'])
  names = '+'.join(map(str, given.get('strategies') or ()))
  known = default(names, given.get('model.name') or 'mlp')
  check_kinds(config, known)
  if not given['strategies']:
    raise UserError(f'strategies: (); must be such as {known.strategies}')
  for field, bounds in BOUNDS.items():
    bounded(field, value(config, field), **bounds)
  every = value(config, 'log.every')
  for field in ('num_train_steps', 'log.eval_every'):
    if value(config, field) % every:
      raise UserError(
        f'{field}: {value(config, field)}; must be a multiple of log.every, '
        f'which is {every}'
      )
  if value(config, 'optimizer.warmup_steps') > config['num_train_steps']:
    raise UserError(
      f'optimizer.warmup_steps: {value(config, "optimizer.warmup_steps")}; '
      f'at most num_train_steps, which is {config["num_train_steps"]}'
    )
  pick('dtype', config['dtype'], DTYPES)
  pick('augment', config['augment'], AUGMENTATIONS)
  for name in value(config, 'log.probes'):
    pick('log.probes', name, PROBES)
  pick('mesh.statistics', value(config, 'mesh.statistics'), ('global', 'local'))
  if value(config, 'batch_size') % value(config, 'mesh.data'):
    raise UserError(
      f'mesh.data: {value(config, "mesh.data")}; must divide batch_size, '
      f'which is {value(config, "batch_size")}'
    )


def _check_model(name, model):
  """A model's numbers are sizes (whole) or scales; its fields are its own."""
  wanted = models.defaults(name)
  given = set(model) - {'name'}
  if given != set(wanted):
    odd = sorted(given.symmetric_difference(wanted))
    raise UserError(
      f'model.name: {name!r}; the fields of model are those of '
      f'another ({", ".join(odd)}); a config file chooses its model by '
      f'bn_jax.config.default(names, {name!r})'
    )
  for field in wanted:
    if not isinstance(model[field], bool):
      low = 1 if isinstance(model[field], int) else 0
      bounded(f'model.{field}', model[field], least=low)
  stddev = model.get('kernel_stddev')
  unread = model.get('kernel_init') != 'normal'
  if unread and stddev != wanted.get('kernel_stddev'):
    raise UserError(
      f'model.kernel_stddev: {stddev}; has no effect under model.kernel_init '
      f'{model["kernel_init"]!r}; must be {wanted["kernel_stddev"]}, or '
      'model.kernel_init normal'
    )


def value(config: Mapping, field: str):
  """The value of a field by its dotted name.

  Raises:
    UserError: If there is no such field.
  """
  inner = config
  for name in field.split('.'):
    if not isinstance(inner, Mapping | ConfigDict) or name not in inner:
      raise UserError(f'config: no field {field!r}')
    inner = inner[name]
  return inner


def check_numbers(config: Mapping, fields, where: str = '') -> None:
  """Refuses fields that cannot differ between members of one program.

  Args:
    config: A run's config, before any number is traced.
    fields: Dotted names.
    where: What the error puts before a field's name, such as `study.search.`.

  Raises:
    UserError: For a field that is not there, is no float, or that the program
      is built from.
  """
  for field in fields:
    known = flatten(config)
    may = [
      name
      for name, given in known.items()
      if isinstance(given, float) and name.split('.')[0] in TRACED
    ]
    if field not in known:
      raise UserError(f'{where}{field}: no such field; {nearest(field, may)}')
    if field not in may:
      raise UserError(
        f'{where}{field}: {known[field]!r}; not a number that members of one '
        f'program may differ in, which are floats: {", ".join(may)}'
      )


def replace(config: dict, values: Mapping) -> dict:
  """A copy of a nested dict with the fields of `values` set by dotted name.

  The values may be traced: this is how a population's hyperparameters reach
  the strategy, the model and the optimizer.

  Raises:
    UserError: If there is no such field; a default would run in its stead.
  """
  for field, new in values.items():
    value(config, field)
    config = _set(config, field.split('.'), new)
  return config


def _set(config, names, new):
  name, *rest = names
  return {**config, name: _set(config[name], rest, new) if rest else new}
