"""Which part of an update moved a quantity, if all others are held still?"""

from collections.abc import Callable

import jax.numpy as jnp

from bn_jax import trees


def update_split(quantity: Callable, old, new) -> dict:
  """The change that each array's update alone makes.

  Args:
    quantity: params -> array.
    old: Parameters before the step.
    new: Parameters after it.

  Returns:
    {path of the array: quantity(old but for it) - quantity(old)}, in the
    order of the tree. The sum differs from the whole change by what the
    parts do together.
  """
  before = quantity(old)

  def alone(name):
    mixed = trees.map_named(lambda p, a, b: b if p == name else a, old, new)
    return quantity(mixed) - before

  return {name: alone(name) for name in trees.names(old)}


def share(changes: dict, name: str):
  """|change by `name`| over the sum of all parts' |changes|, last axis summed.

  Args:
    changes: Of `update_split`, arrays (..., units).
    name: One of its keys.

  Returns:
    (...), from 0 to 1; NaN where nothing changed.
  """
  size = {k: jnp.sum(jnp.abs(v), -1) for k, v in changes.items()}
  return size[name] / sum(size.values())
