"""How much of a gradient only shifts or scales a unit?"""

from typing import NamedTuple

import jax.numpy as jnp


class Components(NamedTuple):
  """Cosines between a unit's gradient and two directions, (units,) each."""

  shift: jnp.ndarray
  """With the same change for every example, which moves the mean."""
  scale: jnp.ndarray
  """With the centred values, which stretches the unit."""


def gradient_components(h, d) -> Components:
  """The cosines of dL/dh with the directions that shift and scale a unit.

  Both are 0 for a unit whose loss does not change with its mean and standard
  deviation. With h = XW, sum_i d_i h_i = <W_j, dL/dW_j>.

  Source: Ioffe & Szegedy 2015, arXiv 1502.03167, section 3.3, for the scale.

  Args:
    h: Values of the units, (batch, ..., units).
    d: The gradient of the loss with respect to them, of the same shape.

  Returns:
    Values from 0 to 1; 0 where a gradient or a unit is constant 0.
  """
  axes = tuple(range(h.ndim - 1))
  centred = h - jnp.mean(h, axes)
  norm = jnp.sqrt(jnp.sum(d**2, axes))
  count = h.size // h.shape[-1]
  shift = _ratio(jnp.abs(jnp.sum(d, axes)), norm * count**0.5)
  spread = jnp.sqrt(jnp.sum(centred**2, axes))
  scale = _ratio(jnp.abs(jnp.sum(d * centred, axes)), norm * spread)
  return Components(shift, scale)


def _ratio(a, b):
  return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
