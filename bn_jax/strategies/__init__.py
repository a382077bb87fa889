"""Strategies: how hidden units are kept normalized. One file each.

The folder is the registry: the file `name.py` holds the function `name`, whose
signature is its default config and which returns a `Strategy`. A module
constant `SEARCH`, if there is one, maps the arguments that a comparison should
tune to their (low, high), drawn log-uniformly.
"""

import importlib
import inspect
import pkgutil

from bn_jax.errors import UserError
from bn_jax.fields import nearest
from bn_jax.strategies.base import Strategy, chain


def names() -> list[str]:
  """Every strategy there is, by the name of its file."""
  found = (m.name for m in pkgutil.iter_modules(__path__))
  return sorted(name for name in found if name != 'base')


def _module(name: str):
  if name not in names():
    raise UserError(f'strategy: {name!r}; {nearest(name, names())}')
  return importlib.import_module(f'{__name__}.{name}')


def defaults(name: str) -> dict:
  """The arguments of a strategy and their defaults.

  Raises:
    UserError: For an argument that has none.
  """
  signature = inspect.signature(getattr(_module(name), name))
  return {k: _default(name, p) for k, p in signature.parameters.items()}


def _default(name, argument):
  default = argument.default
  if default is argument.empty:
    raise UserError(
      f'strategy.{name}.{argument.name}: has no default; its file must give one'
    )
  # `weight: float = 1` is no int, of which a config would take nothing else.
  is_float = argument.annotation in (float, 'float') and type(default) is int
  return float(default) if is_float else default


def search(name: str) -> dict[str, tuple[float, float]]:
  """What a comparison tunes of a strategy: argument -> (low, high)."""
  return getattr(_module(name), 'SEARCH', {})


def build(chained: tuple[str, ...], options: dict[str, dict]) -> Strategy:
  """The strategy that acts as each of the named ones in turn.

  Args:
    chained: Names, in the order in which they act.
    options: Arguments by name of strategy.

  Raises:
    UserError: For a name that is unknown or stands twice.
  """
  for name in chained:
    if chained.count(name) > 1:
      raise UserError(f'strategies: {name!r} stands twice; once is allowed')
  built = [
    getattr(_module(name), name)(**options.get(name, {})) for name in chained
  ]
  return built[0] if len(built) == 1 else chain(*built)
