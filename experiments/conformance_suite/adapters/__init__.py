"""The implementations: one thin adapter a file, loaded by name."""

import importlib

NAMES = (
  'bn_jax',
  'flax_linen',
  'flax_nnx',
  'haiku',
  'equinox',
  'keras',
  'torch',
)


def load(name):
  """The peer of that name; raises ImportError where it is not installed."""
  return importlib.import_module(f'{__name__}.{name}_peer').PEER
