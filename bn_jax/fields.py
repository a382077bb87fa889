"""Nested settings by dotted names, and names that were nearly right.

Floor 0; imports nothing heavy.
"""

import difflib

MANY = 20  # more names than this are not read


def flatten(settings, prefix: str = '') -> dict:
  """Every field of a nested dict or ConfigDict, by its dotted name."""
  found = {}
  for name, value in settings.items():
    inner = hasattr(value, 'items')
    found |= (
      flatten(value, f'{prefix}{name}.') if inner else {prefix + name: value}
    )
  return found


def nearest(given: str, allowed) -> str:
  """`did you mean ...?`, or all that is allowed; of many fields, the groups."""
  close = difflib.get_close_matches(given.split('=')[0], allowed, 1, 0.6)
  if close:
    return f'did you mean {close[0]}?'
  if len(allowed) > MANY:
    allowed = {n.partition('.')[0] + '.*' * ('.' in n) for n in allowed}
  return f'allowed are {", ".join(sorted(allowed))}'
