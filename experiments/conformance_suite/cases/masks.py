"""Masks: what the statistics are taken over."""

import jax.numpy as jnp
import numpy as np

from experiments.conformance_suite.case import (
  Case,
  against_reference,
  error,
  gradients,
  make,
)

_GROUP = 'Masks'
_X = "x = rng.normal(1, 2, (16, 6, 5)).astype('float32'); "
_ROWS = [
  ('some examples (N, 1, 1)', 'mask = np.arange(16)[:, None, None] % 3 > 0'),
  ('some positions (N, T, 1)', 'mask = rng.random((16, 6, 1)) < 0.6'),
  ('some values (N, T, C)', 'mask = rng.random((16, 6, 5)) < 0.6'),
  ('shape (T, C)', 'mask = rng.random((6, 5)) < 0.6'),
  ('everything counts', 'mask = np.ones((16, 6, 1), bool)'),
  (
    'nothing of one channel',
    'mask = np.ones((16, 6, 5), bool); mask[..., 2] = False',
  ),
]
_NOTHING = _X + 'mask = np.zeros((16, 6, 1), bool)'


def cases():
  """Partial masks against the reference, then a mask that hides all."""
  rows = [
    Case(_GROUP, name, 1e-5, against_reference(_X + code), _X + code)
    for name, code in _ROWS
  ]
  for name, run in [
    ('finite output', _finite),
    ('zero gradient', _no_gradient),
    ('running statistics stay', _statistics_stay),
  ]:
    rows.append(Case(_GROUP, f'nothing counts: {name}', 0, run, _NOTHING))
  return rows


def _finite(peer):
  spec, inputs = make(_NOTHING)
  y = gradients(peer, spec, inputs)[0]
  return 0.0 if np.isfinite(np.asarray(y)).all() else float('inf')


def _no_gradient(peer):
  spec, inputs = make(_NOTHING)
  worst = max(
    np.abs(np.asarray(g)).max() for g in gradients(peer, spec, inputs)[1:]
  )
  return float(worst) if np.isfinite(worst) else float('inf')


def _statistics_stay(peer):
  spec, inputs = make(_NOTHING)
  x, scale, bias = (jnp.asarray(a) for a in inputs[:3])
  mean, var = jnp.arange(5.0), jnp.arange(1.0, 6)
  state = peer.state(spec, scale, bias, mean, var)
  _, state = peer.train(spec, state, x, inputs.mask)
  pairs = zip(peer.stats(spec, state), (mean, var), strict=True)
  return max(error(a, np.asarray(b)) for a, b in pairs)
