"""The one exception that a user is meant to read."""

import math


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
    (not math.isfinite(given), 'must be finite'),
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
