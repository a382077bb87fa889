"""Nested settings by dotted names, and names that were nearly right.

Floor 0; imports nothing heavy.
"""

import difflib

from bn_jax.errors import UserError

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


def check_kinds(given, known, where: str = '') -> None:
  """Refuses fields that are missing, misspelt or of another kind.

  Args:
    given: Nested fields.
    known: All of them, at their defaults.
    where: What the error puts before a field's name.

  Raises:
    UserError: Names the first of them.
  """
  given, known = flatten(given), flatten(known)
  for field in given:
    if field not in known:
      raise UserError(f'{where}{field}: no such field; {nearest(field, known)}')
  alike = {tuple: (tuple, list), float: (float, int)}
  for field, default_value in known.items():
    kind, value = type(default_value), given.get(field)
    right = isinstance(value, alike.get(kind, kind))
    if not right or isinstance(value, bool) != (kind is bool):
      said = repr(given[field]) if field in given else 'is missing'
      raise UserError(
        f'{where}{field}: {said}; must be {kind.__name__}, such as '
        f'{default_value!r}'
      )
