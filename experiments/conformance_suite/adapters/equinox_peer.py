# ruff: noqa: D102 (base.Peer says what the methods do)
"""equinox.nn.BatchNorm, in the mode that its documentation recommends."""

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.conformance_suite.adapters import base


class Equinox(base.Peer):
  """It sees one example at a time, and the batch as a named axis."""

  name = 'equinox'
  average = 'debiased'
  jit = staticmethod(eqx.filter_jit)
  snippet = """\
import equinox as eqx, jax
layer, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(
  x.shape[-1], 'batch', momentum=0.9, mode='batch')
y, _ = jax.vmap(layer, axis_name='batch', in_axes=(0, None),
                out_axes=(0, None))(x, state)"""

  def version(self):
    return eqx.__version__

  def state(self, spec, scale, bias, mean=None, var=None):
    base.no(spec, axis_name=True)
    names = 'batch'
    if spec.axis_name is not None:
      other = spec.axis_name
      names = (*((other,) if isinstance(other, str) else other), 'batch')
    if spec.axis % len(spec.shape) == 0:
      raise base.NotSupported('features on the first axis')
    layer, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(
      spec.features[0],
      names,
      eps=spec.epsilon,
      momentum=spec.momentum,
      mode='batch',
    )
    layer = eqx.tree_at(lambda m: (m.weight, m.bias), layer, (scale, bias))
    if mean is not None:
      state = state.set(layer.batch_state_index, (mean, var))
    return layer, state

  def _run(self, spec, state, x, inference):
    layer, stats = state
    x = jnp.moveaxis(x, spec.axis, 1)
    y, stats = jax.vmap(
      lambda x: layer(x, stats, inference=inference),
      axis_name='batch',
      out_axes=(0, None),
    )(x)
    return jnp.moveaxis(y, 1, spec.axis), (layer, stats)

  def train(self, spec, state, x, mask=None):
    base.no(spec, mask, axis_name=True)
    return self._run(spec, state, x, False)

  def evaluate(self, spec, state, x):
    return self._run(spec, state, x, True)[0]

  def stats(self, spec, state):
    layer, stats = state
    mean, var = stats.get(layer.batch_state_index)
    count = stats.get(layer.batch_counter)
    by = 1 - layer.momentum**count
    return mean / by, var / by


PEER = Equinox()
