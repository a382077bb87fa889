"""Running statistics after many steps, in every convention."""

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax.layers.precise import precise_batch_stats
from experiments.conformance_suite import reference
from experiments.conformance_suite.adapters import base
from experiments.conformance_suite.case import (
  TOLERANCES,
  Case,
  error,
  make,
  precision,
)
from experiments.conformance_suite.cases import outputs

_GROUP = 'Running statistics'
_CODE = "x = rng.normal(3, 2, (16, 4)).astype('float32')  # one batch a step"
_MOMENTUM = 0.99


def cases():
  """The peer's own convention, then those that a layer may be asked for."""
  rows = [
    _own(name, shape, axis, dtype, (1, 10, 1000))
    for dtype in TOLERANCES
    for name, (shape, axis) in outputs.SHAPES.items()
  ]
  for average in ('debiased', 'cumulative'):
    run = _run((50,), average=average)
    rows.append(Case(_GROUP, f'{average} average, 50 steps', 1e-5, run, _CODE))
  run = _run((50,), unbiased=True)
  rows.append(Case(_GROUP, 'variance of n - 1, 50 steps', 1e-5, run, _CODE))
  rows.append(
    Case(
      _GROUP, 'precise, over 8 batches of unequal size', 1e-5, _precise, _CODE
    )
  )
  return rows


def _own(what, shape, axis, dtype, marks):
  """The library's own average, held against the reference at each mark."""
  steps = f'{", ".join(map(str, marks[:-1]))} and {marks[-1]:,} steps'
  code = outputs.draw(shape, dtype, mean=3) + '  # one batch a step'
  return Case(
    _GROUP,
    f'{what}, {steps}, {dtype}',
    TOLERANCES[dtype],
    _run(marks, shape, axis, dtype),
    code + (f', axis={axis}' if axis != -1 else ''),
  )


def _batches(steps, shape, dtype):
  """Batches whose mean goes up and down, one at a time."""
  rng = np.random.default_rng(2)
  for i in range(steps):
    x = rng.normal(3 + i % 5, 2, shape)
    if dtype == 'complex64':
      x = x + 1j * rng.normal(3 - i % 3, 1, shape)
    yield x.astype(jnp.dtype(dtype))


class _Wanted:
  """The average of the batches so far, in float64."""

  def __init__(self, features, average, unbiased):
    self.mean, self.var = np.zeros(features), np.ones(features)
    self.average, self.unbiased = average, unbiased
    self.total, self.batches = 0.0, 0

  def add(self, x, axis):
    """Takes in a batch."""
    mean, var, n = reference.moments(x, axis)
    var = var * n / (n - 1) if self.unbiased else var
    self.batches += 1
    m, t = _MOMENTUM, self.batches
    keep = {'ema': m, 'debiased': m * self.total, 'cumulative': t - 1}
    keep, add = keep[self.average], 1 if self.average == 'cumulative' else 1 - m
    self.total = 1.0 if self.average == 'ema' else keep + add
    self.mean = (keep * self.mean + add * mean) / self.total
    self.var = (keep * self.var + add * var) / self.total


def _run(marks, shape=(16, 4), axis=-1, dtype='float32', **options):
  """The worst error of mean and variance after as many steps as each mark."""

  def run(peer):
    spec = base.Spec(shape, axis, momentum=_MOMENTUM)
    as_it_comes = (options.get('unbiased') and peer.unbiased) or options.get(
      'average'
    ) == peer.average
    if not as_it_comes:
      spec = spec._replace(**options)
    with precision(np.empty(0, jnp.dtype(dtype))):
      wide = jnp.promote_types(jnp.finfo(dtype).dtype, jnp.float32)
      state = peer.state(
        spec, jnp.ones(spec.features, wide), jnp.zeros(spec.features, wide)
      )
      step, worst = _stepper(peer, spec), 0.0
      wanted = _Wanted(
        spec.features,
        options.get('average', peer.average),
        options.get('unbiased', peer.unbiased),
      )
      for t, x in enumerate(_batches(max(marks), shape, dtype), 1):
        state = step(state, jnp.asarray(x))
        wanted.add(x, axis)
        if t in marks:
          pairs = zip(
            peer.stats(spec, state), (wanted.mean, wanted.var), strict=True
          )
          worst = max(worst, *(error(a, b) for a, b in pairs))
    return worst

  return run


def _stepper(peer, spec):
  def step(state, x):
    return peer.train(spec, state, x)[1]

  try:
    peer.transforms()
  except base.NotSupported:
    return step
  return peer.jit(step)


def _precise(peer):
  """What bn_jax's function finds for a layer of Flax's kind."""
  if not hasattr(peer, 'module'):
    raise base.NotSupported('precise statistics')
  spec, inputs = make(_CODE)
  layer, rng = peer.module(spec), np.random.default_rng(3)
  xs = [
    rng.normal(5, 3, (n, 4)).astype('f4') for n in (16, 16, 8, 3, 1, 9, 16, 2)
  ]
  variables = layer.init(jax.random.key(0), inputs.x, use_running_average=False)

  def forward(variables, x):
    return layer.apply(variables, x, False, mutable=['batch_stats'])[1]

  found = precise_batch_stats(forward, variables, xs)
  mean, var, _ = reference.moments(np.concatenate(xs))
  return max(error(found['mean'], mean), error(found['var'], var))
