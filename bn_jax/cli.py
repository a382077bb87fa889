"""The command line: flags, config files with overrides, and clear errors.

Imports nothing heavy, so that `--help` and a typo are answered at once.
"""

import argparse
import importlib.util
import pathlib
import sys

from bn_jax.errors import UserError
from bn_jax.fields import flatten, nearest

USER_ERROR = 2
INTERRUPTED = 130


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

  def error(self, message):
    """Says in one line what is wrong with the flags."""
    raise UserError(f'flags: {message}')

  def parse(self, argv: list[str]):
    """Returns the flags, and the overrides `--config.field=value` in order."""
    self._check_flags(argv)
    options, rest = self.parse_known_args(argv)
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
    raise UserError(
      f'flags: {word!r} is unknown; {nearest(word, self._known())}'
    )


def run(main, argv: list[str] | None = None) -> None:
  """Runs a command; a `UserError` ends it with one line and exit code 2."""
  try:
    main(sys.argv[1:] if argv is None else argv)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(USER_ERROR)
  except KeyboardInterrupt:
    print('interrupted; the same command goes on from here', file=sys.stderr)
    sys.exit(INTERRUPTED)


def load_module(path: str):
  """Imports a config file, given as path.py.

  Raises:
    UserError: If it is not there, raises, or has no `get_config`.
  """
  if not pathlib.Path(path).is_file():
    folder = pathlib.Path(path).parent
    there = sorted(p.as_posix() for p in folder.glob('*.py'))
    raise UserError(f'--config: no file {path}; {nearest(path, there)}')
  spec = importlib.util.spec_from_file_location('config', path)
  if spec is None:
    raise UserError(f'--config: {path} is not a Python file')
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except UserError:
    raise
  except Exception as error:
    raise UserError(
      f'--config: {path} raises {type(error).__name__}: {one_line(error)}'
    ) from None
  if not hasattr(module, 'get_config'):
    raise UserError(f'--config: {path} has no function get_config(names)')
  return module


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
  from ml_collections import config_flags

  config = _get_config(load_module(path), path, names)
  for override in overrides:
    _check_name(override, config)
  values = flags.FlagValues()
  words = ['config', f'--config={path}:{names}', *overrides]
  config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=words)
  try:
    values(words)
  except (flags.Error, TypeError, ValueError) as error:
    raise UserError(_explain(error, overrides, config)) from None
  return values.config


def _get_config(module, path, names):
  try:
    return module.get_config(names)
  except UserError:
    raise
  except Exception as error:
    raise UserError(
      f'--config: get_config({names!r}) of {path} raises '
      f'{type(error).__name__}: {one_line(error)}'
    ) from None


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
  for override in overrides:
    name, _, given = override.partition('=')
    field = name_of(name)
    if f'config.{field}' in message or f'config.{field}=' in message:
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
    UserError: For an override that no strategy of the study has, and as
      `load_config` does.
  """
  path = flags.config
  module = load_module(path)
  if not hasattr(module, 'sweep'):
    raise UserError(f'--config: {path} has no function sweep() to compare by')
  settings = module.sweep()
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

  everyone = {n for names in settings.strategies for n in names.split('+')}
  for override in filter(_is_of_strategy, overrides):
    if name_of(override).split('.')[1] not in everyone:
      raise UserError(
        f'--config.{name_of(override)}: no strategy of this study; they are '
        f'{", ".join(sorted(everyone))}'
      )
  return make_config, settings


def _is_of_strategy(override):
  return name_of(override).startswith('strategy.')
