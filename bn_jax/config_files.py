"""Config files, and the overrides that a command gives for their fields.

Imports nothing heavy, so that a typo is answered at once.
"""

import importlib.util
import pathlib

from bn_jax.errors import UserError, jax_variable, one_line
from bn_jax.fields import flatten, nearest


def load_module(path: str):
  """Imports a config file, given as path.py.

  Raises:
    UserError: If it is not there, raises, or has no `get_config`.
  """
  if not pathlib.Path(path).is_file():
    raise UserError(f'--config: no file {path!r}; {_files_near(path)}')
  spec = importlib.util.spec_from_file_location('config', path)
  if spec is None:
    raise UserError(f'--config: {path} is not a Python file')
  module = importlib.util.module_from_spec(spec)
  _call(f'{path}', spec.loader.exec_module, module)
  if not hasattr(module, 'get_config'):
    raise UserError(f'--config: {path} has no function get_config(names)')
  return module


def _files_near(path):
  given = pathlib.Path(path)
  folder, like = given if given.is_dir() else given.parent, '*.py'
  if not folder.is_dir():
    folder, like = folder.parent, f'*/{given.name}'
  there = sorted(p.as_posix() for p in folder.glob(like))
  return nearest(path, there) if there else 'must be FILE.py, a config file'


def _call(what, function, *args):
  """Runs a config file's own code; what it raises is one line."""
  try:
    return function(*args)
  except UserError:
    raise
  except (Exception, SystemExit) as error:
    raised = f'{type(error).__name__}: {one_line(error)}'
    said = jax_variable(error) or f'--config: {what} raises {raised}'
    raise UserError(said) from None


def load_config(path: str, names: str, overrides: list[str]):
  """A config file's ConfigDict for the named strategies, with overrides.

  Args:
    path: A file with `get_config(names)`.
    names: Strategies joined by `+`; '' for those that the file defaults to.
    overrides: `--config.field=value`, as ml_collections has them.

  Raises:
    UserError: Names the field, what was given and what is allowed.
  """
  from absl import flags
  from ml_collections import ConfigDict, config_flags

  given = (names,) * bool(names)
  what = f'get_config({names!r}) of {path}'
  config = _call(what, load_module(path).get_config, *given)
  if not isinstance(config, ConfigDict):
    raise UserError(
      f'--config: {what} returns a {type(config).__name__}; must be a '
      'ConfigDict, as bn_jax.config.default makes it'
    )
  for override in overrides:
    _check_name(override, config)
  values = flags.FlagValues()
  words = ['config', '--config=' + ':'.join((path, *given)), *overrides]
  config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=words)
  try:
    values(words)
  except (flags.Error, TypeError, ValueError) as error:
    raise UserError(_explain(error, overrides, config)) from None
  from bn_jax.config import validate  # heavy, but the file needed it already

  validate(values.config)
  return values.config


def name_of(override: str) -> str:
  """`a.b` of `--config.a.b=value`."""
  return override.split('=')[0].partition('config.')[2]


def _check_name(override, config):
  name, known = name_of(override), flatten(config)
  if name == 'strategies':
    raise UserError('--config.strategies: is given by --config=FILE.py:A+B')
  if name not in known:
    inner = [n for n in known if n.startswith(f'{name}.')]
    if inner or name in config:
      raise UserError(
        f'--config.{name}: is a group of fields; set one of '
        f'{", ".join(inner) or "none, it is empty"}'
      )
    raise UserError(f'--config.{name}: no such field; {nearest(name, known)}')


def _explain(error, overrides, config):
  """The override that ml_collections could not take, and why, in one line."""
  message = one_line(error)
  # Of several values for a field, the one that is told.
  told = [o for o in overrides if f'{one_line(o)}: ' in message]
  for override in told + overrides:
    name, _, given = override.partition('=')
    field = name_of(name)
    if f'config.{field}' in message:
      value = flatten(config)[field]
      return (
        f'--config.{field}: {given!r}; must be '
        f'{type(value).__name__}, such as {value!r}'
      )
  return f'--config: {message}'


def load_study(flags, overrides: list[str]):
  """What `compare` runs, from a config file and the command's flags.

  Returns:
    make_config(names) -> ConfigDict with the overrides that concern it, and
    the settings of the study.

  Raises:
    UserError: For an override that no strategy of the study has or that the
      study sets itself, and as `load_config` does.
  """
  from ml_collections import ConfigDict

  path = flags.config
  module = load_module(path)
  if not hasattr(module, 'sweep'):
    raise UserError(f'--config: {path} has no function sweep() to compare by')
  settings = _call(f'sweep() of {path}', module.sweep)
  if not isinstance(settings, ConfigDict):
    raise UserError(
      f'--config: sweep() of {path} returns a {type(settings).__name__}; must '
      'be a ConfigDict, as bn_jax.config.study makes it'
    )
  if flags.strategies is not None:
    settings.strategies = tuple(filter(None, flags.strategies.split(',')))
  for name in ('trials', 'tuning_seeds', 'seeds'):
    if getattr(flags, name) is not None:
      settings[name] = getattr(flags, name)

  from bn_jax import search  # heavy, but the file needed as much already

  search.check(settings)

  def make_config(names):
    own = names.split('+')
    concern = [
      o
      for o in overrides
      if not _is_of_strategy(o) or name_of(o).split('.')[1] in own
    ]
    return load_config(path, names, concern)

  own = [search.spaces(settings, names)['own'] for names in settings.strategies]
  _check_overrides(settings, set().union(*own), overrides)
  return make_config, settings


def _check_overrides(settings, own, overrides):
  """Refuses what would have no effect on any run of a study."""
  everyone = {n for names in settings.strategies for n in names.split('+')}
  for override in overrides:
    name = name_of(override)
    if _is_of_strategy(override) and name.split('.')[1] not in everyone:
      raise UserError(
        f'--config.{name}: no strategy of this study; they are '
        f'{", ".join(sorted(everyone))}'
      )
    if name == 'seed':
      raise UserError(
        '--config.seed: a study sets its seeds; --seeds and --tuning-seeds '
        'say how many'
      )
    for how, fields in _set_by(settings, own).items():
      if name in fields:
        raise UserError(
          f'--config.{name}: has no value of its own here; it is {how}'
        )


def _set_by(settings, own):
  """The fields that a study sets, by how it comes to their values."""
  return {
    'tuned as sweep() in the config file says': flatten(settings.search),
    'varied as sweep() in the config file says': flatten(settings.grid),
    "tuned as SEARCH in its strategy's file says": own,
  }


def _is_of_strategy(override):
  return name_of(override).startswith('strategy.')
