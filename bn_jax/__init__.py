"""bn_jax: a laboratory for comparing normalization strategies in JAX and Flax.

`import bn_jax` loads nothing heavy; `bn_jax.BatchNorm` and `bn_jax.functional`
load JAX when they are first used.
"""

import importlib
import time

__version__ = '0.1.0'
STARTED = time.time()
"""When this package was imported: no module of it was before."""

_LAZY = {
  'BatchNorm': 'bn_jax.layers.batch_norm',
  'find_pairs': 'bn_jax.layers.folding',
  'fold_batch_norm': 'bn_jax.layers.folding',
  'from_torch': 'bn_jax.layers.from_torch',
  'precise_batch_stats': 'bn_jax.layers.precise',
}


def __dir__():
  return sorted([*globals(), *_LAZY, 'functional'])


def __getattr__(name):
  if name in _LAZY:
    return getattr(importlib.import_module(_LAZY[name]), name)
  try:
    return importlib.import_module(f'{__name__}.{name}')
  except ModuleNotFoundError as error:
    if error.name != f'{__name__}.{name}':
      raise
    raise AttributeError(f'module bn_jax has no {name!r}') from None
