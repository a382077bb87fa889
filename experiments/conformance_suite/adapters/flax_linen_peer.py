# ruff: noqa: D102 (base.Peer says what the methods do)
"""flax.linen.BatchNorm."""

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.conformance_suite.adapters import base


class FlaxLinen(base.Peer):
  """A module's variables are its state."""

  name = 'flax.linen'
  supports = ()
  snippet = """\
import flax.linen as nn, jax
layer = nn.BatchNorm(use_running_average=False)
variables = layer.init(jax.random.key(0), x)
y, _ = layer.apply(variables, x, mutable=['batch_stats'])"""

  def version(self):
    return flax.__version__

  def fields(self, spec):
    """Flax's fields for a layer."""
    return {
      'axis': spec.axis,
      'epsilon': spec.epsilon,
      'momentum': spec.momentum,
      'axis_name': spec.axis_name,
      'axis_index_groups': spec.groups,
    }

  def module(self, spec):
    """The layer."""
    return nn.BatchNorm(**self.fields(spec))

  def state(self, spec, scale, bias, mean=None, var=None):
    more = dict.fromkeys(self.supports, True)
    base.no(spec, axis_name=True, groups=True, several_axes=True, **more)
    empty = jax.eval_shape(
      lambda: self.module(spec).init(
        jax.random.key(0), jnp.zeros(spec.shape), use_running_average=True
      )
    )
    stats = {n: jnp.zeros(a.shape) for n, a in empty['batch_stats'].items()}
    stats['mean'] = stats['mean'] if mean is None else mean
    stats['var'] = stats['var'] + 1 if var is None else var
    return {'params': {'scale': scale, 'bias': bias}, 'batch_stats': stats}

  def train(self, spec, state, x, mask=None):
    y, new = self.module(spec).apply(
      state, x, False, mask=mask, mutable=['batch_stats']
    )
    return y, {**state, **new}

  def evaluate(self, spec, state, x):
    return self.module(spec).apply(state, x, True)

  def stats(self, spec, state):
    return state['batch_stats']['mean'], state['batch_stats']['var']


PEER = FlaxLinen()
