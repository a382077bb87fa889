"""How much do units of a layer depend on each other, linearly?"""

import jax.numpy as jnp


def covariance(x):
  """The covariance over the sample, (units, units); x is (n, ..., units)."""
  x = x.reshape(-1, x.shape[-1])
  off = x - jnp.mean(x, 0)
  return off.T @ off / len(x)


def correlation(x):
  """The root mean square correlation of pairs of units, from 0 to 1.

  Args:
    x: (n, ..., units); all axes but the last are the sample. n independent
      examples of independent units give about n ** -0.5.

  Returns:
    A scalar; 0 for a single unit. A unit that never varies counts as
    uncorrelated.
  """
  cov = covariance(x)
  std = jnp.sqrt(jnp.diag(cov))
  std = jnp.where(std > 0, std, 1)
  off = 1 - jnp.eye(len(cov))
  squared = (cov / jnp.outer(std, std)) ** 2 * off
  return jnp.sqrt(jnp.sum(squared) / jnp.maximum(jnp.sum(off), 1))


def whiteness(x):
  """||cov - I||_F / sqrt(units), 0 where units are white.

  Source: the residual of Huang et al. 2018, arXiv 1804.08450.

  Args:
    x: (n, ..., units).
  """
  cov = covariance(x)
  return jnp.linalg.norm(cov - jnp.eye(len(cov))) / len(cov) ** 0.5
