"""Layer-sequential unit-variance initialization."""

import jax
import jax.numpy as jnp

from bn_jax import trees
from bn_jax.strategies.base import Strategy, feeder


def lsuv() -> Strategy:
  """Orthonormal kernels, each divided by its output's standard deviation.

  The deviation is that of all of a layer's outputs on the first batch, with
  the layers below already scaled; a linear layer reaches variance 1 in one
  step of the paper's loop. Biases stay 0.

  Source: Mishkin & Matas 2016, arXiv 1511.06422, algorithm 1.
  """

  def initialize(variables, forward):
    params = _orthonormal(variables['params'], forward)
    seen = forward(params, variables.get('batch_stats', {}), edit=_unit)
    for site in forward.sites:
      kernel = trees.get(params, site.feeder)['kernel']
      std = _std(seen.sites[site.path])
      params = trees.update(params, site.feeder, kernel=kernel / std)
    return {**variables, 'params': params}

  return Strategy(initialize=initialize)


def _orthonormal(params, forward):
  draw = jax.nn.initializers.orthogonal()
  for number, site in enumerate(forward.sites):
    path = feeder(site, 'lsuv')
    key = jax.random.fold_in(forward.key, number)
    kernel = trees.get(params, path)['kernel']
    new = draw(key, kernel.shape, kernel.dtype)
    params = trees.update(params, path, kernel=new)
  return params


def _std(values):
  """Of all units of a site together, a scalar."""
  moments = values.moments('input')
  mean = jnp.mean(moments.mean)
  return jnp.sqrt(jnp.mean(moments.var + (moments.mean - mean) ** 2))


def _unit(path, values):
  del path
  return values.input / _std(values)
