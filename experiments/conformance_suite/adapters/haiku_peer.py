# ruff: noqa: D102 (base.Peer says what the methods do)
"""haiku.BatchNorm (dm-haiku)."""

from importlib import metadata

import haiku as hk
import jax.numpy as jnp

from experiments.conformance_suite.adapters import base


class Haiku(base.Peer):
  """Parameters and state of the transformed function are the state."""

  name = 'haiku'
  average = 'debiased'
  snippet = """\
import haiku as hk
layer = hk.transform_with_state(
  lambda x: hk.BatchNorm(True, True, 0.9, eps=1e-5)(x, is_training=True))
params, state = layer.init(None, x)
y, _ = layer.apply(params, state, None, x)"""

  def version(self):
    return metadata.version('dm-haiku')

  def _function(self, spec, training):
    axis = spec.axis % len(spec.shape)

    def f(x):
      return hk.BatchNorm(
        True,
        True,
        spec.momentum,
        eps=spec.epsilon,
        axis=[a for a in range(len(spec.shape)) if a != axis],
        cross_replica_axis=spec.axis_name,
        cross_replica_axis_index_groups=spec.groups,
      )(x, is_training=training)

    return hk.transform_with_state(f)

  def _kept(self, spec):
    axis = spec.axis % len(spec.shape)
    return tuple(n if a == axis else 1 for a, n in enumerate(spec.shape))

  def state(self, spec, scale, bias, mean=None, var=None):
    base.no(spec, axis_name=True, groups=True)
    params = {
      'batch_norm': {
        'scale': scale.reshape(self._kept(spec)),
        'offset': bias.reshape(self._kept(spec)),
      }
    }
    stats = {}
    for name, value in (('mean', mean), ('var', var)):
      value = jnp.zeros(self._kept(spec)) if value is None else value
      value = value.reshape(self._kept(spec))
      stats[f'batch_norm/~/{name}_ema'] = {
        'counter': jnp.zeros((), jnp.int32),
        'hidden': value,
        'average': value,
      }
    return params, stats

  def train(self, spec, state, x, mask=None):
    base.no(spec, mask, axis_name=True, groups=True)
    params, stats = state
    y, stats = self._function(spec, True).apply(params, stats, None, x)
    return y, (params, stats)

  def evaluate(self, spec, state, x):
    return self._function(spec, False).apply(*state, None, x)[0]

  def stats(self, spec, state):
    names = ('batch_norm/~/mean_ema', 'batch_norm/~/var_ema')
    return tuple(state[1][n]['average'].reshape(-1) for n in names)


PEER = Haiku()
