"""The one exception that a user is meant to read, and what raises it."""

import json
import os
import pathlib

# Of float32, in which a field's number is used.
LARGEST = (2 - 2**-23) * 2.0**127
# What JSON calls what Python calls otherwise.
KINDS = {dict: 'an object', list: 'a list'}
REQUIRED = object()


class UserError(ValueError):
  """What the user gave cannot be used.

  The message is one line: the field, what was given, what is allowed. Entry
  points print it without a traceback and exit with code 2.
  """


def bounded(
  field: str, given, *, least=None, above=None, most=None, below=None
):
  """`given`, where it is finite and within the bounds; a traced one passes.

  Raises:
    UserError: Says which bound does not hold.
  """
  if not isinstance(given, int | float):
    return given
  wrong = [
    (least is not None and not given >= least, f'at least {least}'),
    (above is not None and not given > above, f'above {above}'),
    (most is not None and not given <= most, f'at most {most}'),
    (below is not None and not given < below, f'below {below}'),
    (not abs(given) <= LARGEST, f'must be finite: at most {LARGEST:.2g}'),
  ]
  for bad, allowed in wrong:
    if bad:
      raise UserError(f'{field}: {given}; {allowed}')
  return given


def pick(field: str, given, allowed):
  """`allowed[given]` where that is a dict, `given` where it is a sequence.

  Raises:
    UserError: If `given` is not among what is allowed.
  """
  if given not in allowed:
    raise UserError(f'{field}: {given!r}; allowed are {", ".join(allowed)}')
  return allowed[given] if isinstance(allowed, dict) else given


def read_json(path, kind: type = dict, default=REQUIRED):
  """Reads a JSON file of a workdir.

  Args:
    path: Of the file.
    kind: What its value must be; `object` for anything.
    default: What is returned where there is no such file, if that may be.

  Raises:
    UserError: If it cannot be read, is not JSON or of another kind.
  """
  path = pathlib.Path(path)
  try:
    value = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    if default is not REQUIRED:
      return default
    raise UserError(f'workdir: {path} is missing') from None
  except OSError as error:
    raise UserError(
      f'workdir: {path} cannot be read: {error.strerror}; must be a JSON file; '
      'move what is there away to start afresh'
    ) from None
  except (ValueError, RecursionError) as error:
    raise UserError(
      f'workdir: {path} is not JSON ({error}); delete it to start afresh'
    ) from None
  if not isinstance(value, kind):
    raise UserError(
      f'workdir: {path} is not {KINDS[kind]} but {str(value)[:40]!r}; delete '
      'it to start afresh'
    )
  return value


def check_folder(path: pathlib.Path) -> None:
  """Refuses a path that is no folder and cannot become one, or has claims.

  Raises:
    UserError: Names the part that is in the way.
  """
  try:
    for part in (path, *path.parents):
      if part.is_symlink() and not part.exists():
        raise UserError(
          f'workdir: {path}; {part} is a link that leads nowhere; must be a '
          'folder, or not there'
        )
      if part.exists() and not part.is_dir():
        raise UserError(f'workdir: {path}; {part} is not a folder')
    claims = (path / 'claims_run.json').exists()
  except OSError as error:
    raise UserError(
      f'workdir: {path} cannot be used: {error.strerror}; choose another'
    ) from None
  if claims:
    raise UserError(
      f'workdir: {path} holds claims, of experiments.claims; choose another '
      '--workdir'
    )


def one_line(error) -> str:
  """An exception's message without its line breaks."""
  return ' '.join(str(error).split())


def jax_variable(error) -> str | None:
  """What JAX says of a variable of the environment as it is imported."""
  message = one_line(error)
  for name, given in os.environ.items():
    if name.startswith('JAX_') and name in message.upper():
      return f'{name}: {given!r}; JAX does not take it: {message}'
  return None
