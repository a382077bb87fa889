"""Inputs on which arithmetic fails."""

import numpy as np

from experiments.conformance_suite.case import (
  Case,
  against_reference,
  gradients,
  make,
)

_GROUP = 'Hard numbers'
_ROWS = [  # name, tolerance, code
  ('N(1e3, 1)', 5e-5, "x = rng.normal(1e3, 1, (256, 4)).astype('float32')"),
  ('N(1e4, 1)', 5e-4, "x = rng.normal(1e4, 1, (256, 4)).astype('float32')"),
  (
    'N(1e4, 1), 524,288 values a feature',
    5e-4,
    "x = rng.normal(1e4, 1, (512, 32, 32, 2)).astype('float32')",
  ),
  ('N(1e6, 0.1)', 5e-4, "x = rng.normal(1e6, 0.1, (256, 4)).astype('float32')"),
  (
    'N(100, 1) in bfloat16',
    2e-2,
    'x = rng.normal(100, 1, (256, 4)).astype(bfloat16)',
  ),
  (
    'very large: N(0, 1e15)',
    1e-5,
    "x = rng.normal(0, 1e15, (32, 4)).astype('float32')",
  ),
  (
    'very small: N(0, 1e-15)',
    1e-5,
    "x = rng.normal(0, 1e-15, (32, 4)).astype('float32')",
  ),
  ('one example', 1e-4, "x = rng.normal(1, 2, (1, 4)).astype('float32')"),
  ('one channel', 1e-5, "x = rng.normal(1, 2, (32, 1)).astype('float32')"),
]
_CONSTANT = "x = np.full((60, 4), {}, 'float32')"


def cases():
  """Large means, extreme scales, one of a kind, and what is not a number."""
  rows = [
    Case(_GROUP, name, tolerance, against_reference(code), code)
    for name, tolerance, code in _ROWS
  ]
  for value in ('0.1', '1e6'):
    code = _CONSTANT.format(value)
    run = against_reference(code, parts=('y', 'dx', 'dbias'))
    rows.append(Case(_GROUP, f'constant: {value}', 1e-4, run, code))
  for bad in ('inf', 'nan'):
    code = "x = rng.normal(1, 2, (32, 4)).astype('float32')"
    name = f'{bad} in one channel leaves the others alone'
    rows.append(
      Case(_GROUP, name, 0, _apart(code, bad), f'{code}; x[3, 1] = np.{bad}')
    )
  return rows


def _apart(code, bad):
  def run(peer):
    spec, inputs = make(code)
    good = gradients(peer, spec, inputs)
    dirty = inputs.x.copy()
    dirty[3, 1] = float(bad)
    found = gradients(peer, spec, inputs._replace(x=dirty))
    others = np.arange(4) != 1
    pairs = zip(found, good, strict=True)
    gaps = [
      np.abs(np.asarray(a)[..., others] - np.asarray(b)[..., others])
      for a, b in pairs
    ]
    worst = np.max([g.max() for g in gaps])  # NaN is kept
    return float(worst) if np.isfinite(worst) else float('inf')

  return run
