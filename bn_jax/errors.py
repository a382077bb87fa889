"""The one exception that a user is meant to read."""


class UserError(ValueError):
  """What the user gave cannot be used.

  The message is one line: the field, what was given, what is allowed. Entry
  points print it without a traceback and exit with code 2.
  """
