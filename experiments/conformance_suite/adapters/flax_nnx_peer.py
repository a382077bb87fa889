# ruff: noqa: D102 (base.Peer says what the methods do)
"""flax.nnx.BatchNorm."""

import flax
from flax import nnx

from experiments.conformance_suite.adapters import base


class FlaxNnx(base.Peer):
  """A dict of arrays is the state; the object is made anew in each call."""

  name = 'flax.nnx'
  snippet = """\
from flax import nnx
layer = nnx.BatchNorm(x.shape[-1], rngs=nnx.Rngs(0))
y = layer(x, use_running_average=False)"""

  def version(self):
    return flax.__version__

  def state(self, spec, scale, bias, mean=None, var=None):
    base.no(spec, axis_name=True, groups=True)
    state = {'scale': scale, 'bias': bias}
    layer = self._layer(spec, state)
    state['mean'] = layer.mean[...] if mean is None else mean
    state['var'] = layer.var[...] if var is None else var
    return state

  def _layer(self, spec, state):
    layer = nnx.BatchNorm(
      spec.features[0],
      axis=spec.axis,
      epsilon=spec.epsilon,
      momentum=spec.momentum,
      axis_name=spec.axis_name,
      axis_index_groups=spec.groups,
      rngs=nnx.Rngs(0),
    )
    for name, value in state.items():
      getattr(layer, name).set_value(value)
    return layer

  def train(self, spec, state, x, mask=None):
    layer = self._layer(spec, state)
    y = layer(x, use_running_average=False, mask=mask)
    return y, {**state, 'mean': layer.mean[...], 'var': layer.var[...]}

  def evaluate(self, spec, state, x):
    return self._layer(spec, state)(x, use_running_average=True)

  def stats(self, spec, state):
    return state['mean'], state['var']


PEER = FlaxNnx()
