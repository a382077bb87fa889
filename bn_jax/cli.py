"""The command line: flags, and how a command ends.

Imports nothing heavy, so that `--help` and a typo are answered at once.
"""

import argparse
import contextlib
import os
import sys

from bn_jax import allocator, stopping, watch
from bn_jax.errors import UserError, jax_variable, one_line
from bn_jax.fields import nearest

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
    _leave(stop, stop.code)
  except ValueError as error:
    if jax_variable(error) is None:
      raise
    print(f'error: {jax_variable(error)}', file=sys.stderr)
    sys.exit(USER_ERROR)
  except RuntimeError as error:
    if type(error).__name__ != 'JaxRuntimeError' or not _several():
      raise
    watch.end(f'another process of the run was lost ({one_line(error)[:160]})')
  except KeyboardInterrupt:
    message = 'interrupted; the same command goes on from here'
    _leave(message, stopping.INTERRUPTED)


def _leave(message, code):
  """Ends at once: a regular end would wait for the chunk that is computed."""
  with contextlib.suppress(OSError):  # Ctrl-C may have ended a `| tee`, too
    print(message, file=sys.stderr, flush=True)
  with contextlib.suppress(OSError):
    sys.stdout.flush()
  if _several():  # they stop together, between chunks, and say goodbye
    sys.exit(code)
  os._exit(code)


def _several():
  """Whether this is one of several processes, without waking JAX up.

  It may be half imported, and finding its devices may fail.
  """
  distributed = getattr(sys.modules.get('jax'), 'distributed', None)
  return distributed is not None and distributed.is_initialized()
