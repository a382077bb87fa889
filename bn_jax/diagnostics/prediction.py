"""Does a step do what the gradient predicts?"""

import jax
import jax.numpy as jnp

from bn_jax import trees


def prediction_error(objective, params, gradient, step_size):
  """|dJ / (e |g|^2) - 1| for a step of size e along the gradient.

  Source: the second-order effects of Goodfellow, Bengio and Courville, Deep
  Learning, section 8.7.1: all layers move at once.

  Args:
    objective: params -> scalar J, to be increased.
    params: Where the step starts.
    gradient: g, of J there.
    step_size: e.
  """
  moved = jax.tree.map(lambda p, d: p + step_size * d, params, gradient)
  change = objective(moved) - objective(params)
  predicted = step_size * trees.dot(gradient, gradient)
  return jnp.abs(change / predicted - 1)
