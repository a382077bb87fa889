"""The one exception that a user is meant to read."""


class UserError(ValueError):
  """What the user gave cannot be used.

  The message is one line: the field, what was given, what is allowed. Entry
  points print it without a traceback and exit with code 2.
  """


def pick(field: str, given, allowed):
  """`allowed[given]` where that is a dict, `given` where it is a sequence.

  Raises:
    UserError: If `given` is not among what is allowed.
  """
  if given not in allowed:
    raise UserError(f'{field}: {given!r}; allowed are {", ".join(allowed)}')
  return allowed[given] if isinstance(allowed, dict) else given
