"""How far are a site's units from mean 0 and variance 1?"""

import jax.numpy as jnp


def distance(mean, var):
  """The distance from normalized: root mean square over units of W2.

  W2^2 = m^2 + (s - 1)^2 is the squared 2-Wasserstein distance between
  N(m, s^2) and N(0, 1). It is 0 for units of mean 0 and variance 1 and 1 for
  units that never vary.

  Args:
    mean: Each unit's mean, (..., units).
    var: Each unit's variance, (..., units).

  Returns:
    (...), in units of the standard deviation that the units should have.
  """
  squared = mean**2 + (jnp.sqrt(var) - 1) ** 2
  return jnp.sqrt(jnp.mean(squared, axis=-1))
