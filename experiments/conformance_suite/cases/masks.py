"""Masks: what the statistics are taken over."""

import functools

import jax.numpy as jnp
import numpy as np

from experiments.conformance_suite import reference
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
_NOTHING = {
  'nothing counts': _X + 'mask = np.zeros((16, 6, 1), bool)',
  'nothing counts, NaN padding': (
    _X + 'x[:] = np.nan; mask = np.zeros((16, 6, 1), bool)'
  ),
}
_PADDING = _X + 'mask = rng.random((16, 6, 1)) < 0.6; x[~mask[..., 0]] = np.{}'


def cases():
  """Partial masks against the reference, padding, a mask that hides all."""
  rows = [
    Case(_GROUP, name, 1e-5, against_reference(_X + code), _X + code)
    for name, code in _ROWS
  ]
  for bad, name in (('nan', 'NaN'), ('inf', 'infinity')):
    code = _PADDING.format(bad)
    run = functools.partial(_padding, code)
    rows.append(
      Case(_GROUP, f'{name} as padding under a mask', 1e-5, run, code)
    )
  for what, code in _NOTHING.items():
    for name, run in [
      ('finite output', _finite),
      ('zero gradient', _no_gradient),
      ('running statistics stay', _statistics_stay),
    ]:
      run = functools.partial(run, code)
      rows.append(Case(_GROUP, f'{what}: {name}', 0, run, code))
  return rows


def _padding(code, peer):
  """The loss reads what counts alone: so must output and gradients."""
  spec, inputs = make(code)
  on = np.broadcast_to(inputs.mask, inputs.x.shape)
  clean, d = (np.where(on, a, 0) for a in (inputs.x, inputs.d))
  wanted = reference.batch_norm(
    clean, inputs.scale, inputs.bias, d, mask=inputs.mask
  )
  y, *gradients_ = gradients(peer, spec, inputs._replace(d=d))
  pairs = zip(gradients_, (wanted.dx, wanted.dscale, wanted.dbias), strict=True)
  return max(
    error(np.where(on, y, 0), np.where(on, wanted.y, 0)),
    *(error(a, b) for a, b in pairs),
  )


def _finite(code, peer):
  spec, inputs = make(code)
  y = gradients(peer, spec, inputs)[0]
  return 0.0 if np.isfinite(np.asarray(y)).all() else float('inf')


def _no_gradient(code, peer):
  spec, inputs = make(code)
  found = gradients(peer, spec, inputs)[1:]
  worst = np.max([np.abs(np.asarray(g)).max() for g in found])  # NaN is kept
  return float(worst) if np.isfinite(worst) else float('inf')


def _statistics_stay(code, peer):
  spec, inputs = make(code)
  x, scale, bias = (jnp.asarray(a) for a in inputs[:3])
  mean, var = jnp.arange(5.0), jnp.arange(1.0, 6)
  state = peer.state(spec, scale, bias, mean, var)
  _, state = peer.train(spec, state, x, inputs.mask)
  pairs = zip(peer.stats(spec, state), (mean, var), strict=True)
  return max(error(a, np.asarray(b)) for a, b in pairs)
