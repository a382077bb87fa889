# ruff: noqa: D102 (base.Peer says what the methods do)
"""keras.layers.BatchNormalization on Keras's JAX backend."""

import os

os.environ.setdefault('KERAS_BACKEND', 'jax')

import jax.numpy as jnp
import keras

from experiments.conformance_suite.adapters import base


class Keras(base.Peer):
  """Its variables, in its order, are the state."""

  name = 'keras'
  snippet = """\
import os; os.environ['KERAS_BACKEND'] = 'jax'
import keras
y = keras.layers.BatchNormalization(epsilon=1e-5)(x, training=True)"""

  def version(self):
    return keras.__version__

  def _layer(self, spec, dtype):
    layer = keras.layers.BatchNormalization(
      axis=spec.axis,
      momentum=spec.momentum,
      epsilon=spec.epsilon,
      dtype={'bfloat16': 'mixed_bfloat16', 'float16': 'mixed_float16'}.get(
        dtype, dtype
      ),
    )
    layer.build(spec.shape)
    return layer

  def state(self, spec, scale, bias, mean=None, var=None):
    base.no(spec)
    mean = jnp.zeros(spec.features) if mean is None else mean
    var = jnp.ones(spec.features) if var is None else var
    return scale, bias, mean, var

  def _run(self, spec, state, x, training, mask=None):
    dtype = str(x.dtype)
    if dtype.startswith('complex'):
      raise base.NotSupported('complex input')
    more = {}
    if mask is not None:
      if mask.shape != (*spec.shape[:-1], 1):
        raise base.NotSupported('a mask of this shape')
      more = {'mask': jnp.asarray(mask)[..., 0]}
    y, stats = self._layer(spec, dtype).stateless_call(
      list(state[:2]), list(state[2:]), x, training=training, **more
    )
    return y, (*state[:2], *stats)

  def train(self, spec, state, x, mask=None):
    return self._run(spec, state, x, True, mask)

  def evaluate(self, spec, state, x):
    return self._run(spec, state, x, False)[0]

  def stats(self, spec, state):
    return state[2:]


PEER = Keras()
