"""A term in the loss that pulls units towards mean 0 and variance 1."""

import jax.numpy as jnp

from bn_jax.errors import bounded, pick
from bn_jax.strategies.base import Strategy

SEARCH = {'weight': (1e-4, 1e1)}
EPSILON = 1e-5  # keeps the logarithm finite for a unit that never varies

FORMS = {
  'moments': lambda mean, var: mean**2 + (var - 1) ** 2,
  'kl': lambda mean, var: 0.5 * (mean**2 + var - 1 - jnp.log(var + EPSILON)),
  'log_variance': lambda mean, var: mean**2 + jnp.log(var + EPSILON) ** 2,
}


def activation_penalty(
  weight: float = 0.01, form: str = 'moments', affine: bool = True
) -> Strategy:
  """Loss + weight * sum over sites of the mean over units of f(mean, var).

  Mean and variance are of what arrives at a site; beside a strategy whose
  module normalizes there, that is what the module gets.

  Source: the first alternative to batch norm in Goodfellow, Bengio and
  Courville, Deep Learning, section 8.7.1. `kl` is KL(N(mean, var) || N(0, 1)).

  Args:
    weight: Of the penalty against the loss; 0 is no penalty.
    form: f: `moments` mean^2 + (var - 1)^2, `kl`, or `log_variance`
      mean^2 + (log var)^2.
    affine: Whether a learned scale and bias follow the site.
  """

  bounded('strategy.activation_penalty.weight', weight, least=0)
  divergence = pick('strategy.activation_penalty.form', form, FORMS)

  def layers(built):
    return built.with_affine() if affine else built

  def penalty(params, sites):
    del params
    moments = [site.moments('input') for site in sites.values()]
    terms = [jnp.mean(divergence(m.mean, m.var)) for m in moments]
    return weight * sum(terms)

  return Strategy(layers=layers, penalty=penalty)
