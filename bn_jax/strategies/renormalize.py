"""After each step, weights are edited so that units are normalized again."""

import jax
import jax.numpy as jnp

from bn_jax import trees
from bn_jax.errors import UserError, bounded
from bn_jax.layers.site import SiteValues
from bn_jax.strategies.base import Strategy, feeder

# A deviation below this share of the mean is float32's rounding: a unit whose
# inputs are all dead does not vary, and a division would blow up its weights.
ROUNDING = 1e-6


def renormalize(
  every: int = 1, preserve_function: bool = False, affine: bool = True
) -> Strategy:
  """W_j <- W_j / s_j and b_j <- (b_j - m_j) / s_j, bottom-up, after a step.

  m_j and s_j are unit j's mean and standard deviation on the step's batch
  under the new parameters, with the sites below already edited. A unit that
  does not vary keeps its W_j.

  Source: the second alternative to batch norm in Goodfellow, Bengio and
  Courville, Deep Learning, section 8.7.1; Ioffe & Szegedy 2015, section 2.

  Args:
    every: Edit after each k-th step.
    preserve_function: Let the site's scale and bias absorb the change, so
      that the network computes what it did; needs `affine`.
    affine: Whether a learned scale and bias follow the site.
  """
  bounded('strategy.renormalize.every', every, least=1)
  if preserve_function and not affine:
    raise UserError(
      'strategy.renormalize.preserve_function: True with affine=False; a '
      'scale and bias must be there to absorb the edit'
    )

  def layers(built):
    return built.with_affine() if affine else built

  def edit(variables, forward):
    return {**variables, 'params': _edit(variables, forward, preserve_function)}

  def post_step(state, forward):
    def edited(_):
      return edit(
        {'params': state.params, 'batch_stats': state.batch_stats}, forward
      )['params']

    params = (
      jax.lax.cond(
        state.step % every == 0, edited, lambda _: state.params, None
      )
      if every > 1
      else edited(None)
    )
    return state.replace(params=params)

  return Strategy(layers=layers, initialize=edit, post_step=post_step)


def _edit(variables, forward, preserve_function):
  """The parameters with every site's units normalized on the batch.

  Dividing a unit by s_j after subtracting m_j is what the edit of W and b
  does to it, so one forward pass that does so at each site finds all m and s.
  """
  params = variables['params']
  # What the edit leaves as it is need not be simulated: the sites above see
  # the same input.
  simulate = None if preserve_function else _normalize_like(forward)
  seen = forward(params, variables.get('batch_stats', {}), edit=simulate)
  for site in forward.sites:
    _check(site, variables)
    mean, std = _mean_and_std(seen.sites[site.path])
    linear = trees.get(params, site.feeder)
    params = trees.update(
      params,
      site.feeder,
      kernel=linear['kernel'] / std,
      bias=(linear['bias'] - mean) / std,
    )
    if preserve_function:
      affine = trees.get(params, f'{site.path}/norm')
      params = trees.update(
        params,
        f'{site.path}/norm',
        scale=affine['scale'] * std,
        bias=affine['bias'] + affine['scale'] * mean,
      )
  return params


def _mean_and_std(values: SiteValues):
  """Each unit's mean and divisor, (features,): 1 for one that never varies."""
  moments = values.moments('input')
  std = jnp.sqrt(moments.var)
  varies = std > ROUNDING * jnp.abs(moments.mean)
  return moments.mean, jnp.where(varies, std, 1.0)


def _normalize_like(forward):
  def edit(path, values):
    del path
    mean, std = _mean_and_std(values)
    return (values.input - mean) / std

  return edit


def _check(site, variables):
  running = trees.names(variables.get('batch_stats', {}))
  if any(name.startswith(f'{site.path}/') for name in running):
    raise UserError(
      f'strategy renormalize: {site.path} is normalized already; it cannot be '
      'chained with a strategy that puts a module there'
    )
  if 'bias' not in trees.get(variables['params'], feeder(site, 'renormalize')):
    raise UserError(
      f'strategy renormalize: {site.feeder} has no bias to edit; '
      'linear_chain has one under --config.model.use_bias=True'
    )
