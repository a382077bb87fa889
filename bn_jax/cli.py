"""The command line: flags, config files with overrides, and clear errors.

Imports nothing heavy, so that `--help` and a typo are answered at once.
"""

import argparse
import importlib.util
import os
import pathlib
import sys

from bn_jax import allocator, stopping, watch
from bn_jax.errors import UserError
from bn_jax.fields import flatten, nearest

USER_ERROR = 2


class Parser(argparse.ArgumentParser):
  """Flags of a command, and what is left for its config."""

  def __init__(self, doc: str):
    """Makes the parser; the command's docstring is its help."""
    super().__init__(
      usage=argparse.SUPPRESS,
      description=doc,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )

  def add_processes(self):
    """Adds the flags of a run that is spread over several processes."""
    several = self.add_argument_group(
      'several processes',
      'One run on several hosts, with the same command on each but for '
      '--process-id; under Slurm and on TPU pods all three are found. See '
      'docs/clusters.md.',
    )
    several.add_argument('--coordinator', metavar='HOST:PORT')
    several.add_argument('--num-processes', type=int, metavar='N')
    several.add_argument('--process-id', type=int, metavar='I')

  def error(self, message):
    """Says in one line what is wrong with the flags."""
    raise UserError(f'flags: {message}')

  def parse(self, argv: list[str]):
    """Returns the flags, and the overrides `--config.field=value` in order."""
    self._check_flags(argv)
    options, rest = self.parse_known_args(argv)
    if getattr(options, 'workdir', None) == '':
      name = '--workdir' if '--workdir' in self._known() else 'DIR'
      raise UserError(f'flags: {name} is empty; it must name a folder')
    overrides = []
    for word in rest:
      if word.startswith(('--config.', '--noconfig.')):
        overrides.append(word)
      elif overrides and '=' not in overrides[-1] and word[:2] != '--':
        overrides[-1] += f'={word}'
      else:
        self._refuse(word)
    return options, overrides

  def _check_flags(self, argv):
    """A misspelt flag first: the one that it hides is not what is wrong."""
    for word in argv:
      name = word.split('=')[0]
      ours = name.startswith(('--config.', '--noconfig.'))
      if name.startswith('-') and not ours and name not in self._known():
        self._refuse(word)

  def _known(self):
    return [s for a in self._actions for s in a.option_strings]

  def _refuse(self, word):
    known = self._known()
    fields = ' (a field of the config is set by --config.FIELD=VALUE)'
    raise UserError(
      f'flags: {word!r} is unknown; {nearest(word, known)}'
      f'{fields if "--config" in known else ""}'
    )


def run(main, argv: list[str] | None = None) -> None:
  """Runs a command; a `UserError` ends it with one line and exit code 2."""
  try:
    with stopping.at_once():
      allocator.opt_in()
      main(sys.argv[1:] if argv is None else argv)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(USER_ERROR)
  except stopping.Stopped as stop:
    print(stop, file=sys.stderr)
    sys.exit(stop.code)
  except ValueError as error:
    if _variable(error) is None:
      raise
    print(f'error: {_variable(error)}', file=sys.stderr)
    sys.exit(USER_ERROR)
  except RuntimeError as error:
    if type(error).__name__ != 'JaxRuntimeError' or not _several():
      raise
    watch.end(f'another process of the run was lost ({one_line(error)[:160]})')
  except KeyboardInterrupt:
    print('interrupted; the same command goes on from here', file=sys.stderr)
    sys.exit(stopping.INTERRUPTED)


def _variable(error):
  """What JAX says of a variable of the environment as it is imported."""
  message = one_line(error)
  for name, given in os.environ.items():
    if name.startswith('JAX_') and name in message.upper():
      return f'{name}: {given!r}; JAX does not take it: {message}'
  return None


def _several():
  """Whether this is one of several processes, without waking JAX up."""
  return 'jax' in sys.modules and sys.modules['jax'].process_count() > 1


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
    said = _variable(error) or f'--config: {what} raises {raised}'
    raise UserError(said) from None


def load_config(path: str, names: str, overrides: list[str]):
  """A config file's ConfigDict for the named strategies, with overrides.

  Args:
    path: A file with `get_config(names)`.
    names: Strategies joined by `+`.
    overrides: `--config.field=value`, as ml_collections has them.

  Raises:
    UserError: Names the field, what was given and what is allowed.
  """
  from absl import flags
  from ml_collections import ConfigDict, config_flags

  what = f'get_config({names!r}) of {path}'
  config = _call(what, load_module(path).get_config, names)
  if not isinstance(config, ConfigDict):
    raise UserError(
      f'--config: {what} returns a {type(config).__name__}; must be a '
      'ConfigDict, as bn_jax.config.default makes it'
    )
  for override in overrides:
    _check_name(override, config)
  values = flags.FlagValues()
  words = ['config', f'--config={path}:{names}', *overrides]
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


def one_line(error) -> str:
  """An exception's message without its line breaks."""
  return ' '.join(str(error).split())


def load_study(flags, overrides: list[str]):
  """What `compare` runs, from a config file and the command's flags.

  Returns:
    make_config(names) -> ConfigDict with the overrides that concern it, and
    the settings of the study.

  Raises:
    UserError: For an override that no strategy of the study has or that the
      study sets itself, and as `load_config` does.
  """
  path = flags.config
  module = load_module(path)
  if not hasattr(module, 'sweep'):
    raise UserError(f'--config: {path} has no function sweep() to compare by')
  settings = _call(f'sweep() of {path}', module.sweep)
  if flags.strategies is not None:
    settings.strategies = tuple(filter(None, flags.strategies.split(',')))
  for name in ('trials', 'tuning_seeds', 'seeds'):
    if getattr(flags, name) is not None:
      settings[name] = getattr(flags, name)

  def make_config(names):
    own = names.split('+')
    concern = [
      o
      for o in overrides
      if not _is_of_strategy(o) or name_of(o).split('.')[1] in own
    ]
    return load_config(path, names, concern)

  _check_overrides(settings, overrides)
  return make_config, settings


def _check_overrides(settings, overrides):
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
    for how, fields in (('tuned', settings.search), ('varied', settings.grid)):
      if name in flatten(fields):
        raise UserError(
          f'--config.{name}: is {how} by this study, so it has no value of '
          'its own; sweep() in the config file says over which'
        )


def _is_of_strategy(override):
  return name_of(override).startswith('strategy.')
