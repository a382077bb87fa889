"""What the fields of a model may name: initial kernels and nonlinearities."""

import flax.linen as nn

from bn_jax.errors import pick

_NAMED = {
  'lecun_normal': nn.initializers.lecun_normal,
  'glorot_uniform': nn.initializers.glorot_uniform,
  'he_normal': nn.initializers.he_normal,
  'orthogonal': nn.initializers.orthogonal,
}
_ACTS = {
  'sigmoid': nn.sigmoid,
  'tanh': nn.tanh,
  'relu': nn.relu,
  'gelu': nn.gelu,
  'linear': lambda x: x,
}


def kernel_init(name: str, stddev: float):
  """The initializer called `name`; `stddev` is read by `normal` alone."""
  if name == 'normal':
    return nn.initializers.normal(stddev)
  allowed = {**_NAMED, 'normal': None}
  return pick('model.kernel_init', name, allowed)()


def activation(name: str):
  """The nonlinearity called `name`, an array function."""
  return pick('model.activation', name, _ACTS)
