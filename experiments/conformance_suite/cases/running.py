"""Running statistics after many steps, in every convention."""

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax.layers.precise import precise_batch_stats
from experiments.conformance_suite import reference
from experiments.conformance_suite.adapters import base
from experiments.conformance_suite.case import Case, error, make

_GROUP = 'Running statistics'
_CODE = "x = rng.normal(3, 2, (16, 4)).astype('float32')  # one batch a step"
_MOMENTUM = 0.99


def cases():
  """The peer's own convention, then those that a layer may be asked for."""
  rows = [
    Case(
      _GROUP,
      f"the library's own average, {n} step{'s' * (n > 1)}",
      1e-5,
      _own(n),
      _CODE,
    )
    for n in (1, 10, 1000)
  ]
  for average in ('debiased', 'cumulative'):
    run = _run(50, average=average)
    rows.append(Case(_GROUP, f'{average} average, 50 steps', 1e-5, run, _CODE))
  run = _run(50, unbiased=True)
  rows.append(Case(_GROUP, 'variance of n - 1, 50 steps', 1e-5, run, _CODE))
  rows.append(
    Case(
      _GROUP, 'precise, over 8 batches of unequal size', 1e-5, _precise, _CODE
    )
  )
  return rows


def _own(steps):
  return lambda peer: _run(steps)(peer)


def _batches(steps):
  rng = np.random.default_rng(2)
  return [rng.normal(3 + i % 5, 2, (16, 4)).astype('f4') for i in range(steps)]


def _wanted(xs, average, unbiased):
  mean, var = np.zeros(4), np.ones(4)
  m, weight = _MOMENTUM, 0.0
  for t, x in enumerate(xs, 1):
    new_mean, new_var, n = reference.moments(x)
    new_var = new_var * n / (n - 1) if unbiased else new_var
    keep = {'ema': m, 'debiased': m * weight, 'cumulative': (t - 1)}[average]
    add = 1 if average == 'cumulative' else 1 - m
    total = {'ema': 1.0, 'debiased': keep + add, 'cumulative': t}[average]
    mean = (keep * mean + add * new_mean) / total
    var = (keep * var + add * new_var) / total
    weight = total
  return mean, var


def _run(steps, **options):
  def run(peer):
    if options.get('unbiased') and peer.unbiased:
      spec = base.Spec((16, 4), momentum=_MOMENTUM)  # as it comes
    elif options.get('average') == peer.average:
      spec = base.Spec((16, 4), momentum=_MOMENTUM)
    else:
      spec = base.Spec((16, 4), momentum=_MOMENTUM, **options)
    xs = _batches(steps)
    state = peer.state(spec, jnp.ones(4), jnp.zeros(4))
    step = _stepper(peer, spec)
    for x in xs:
      state = step(state, jnp.asarray(x))
    average = options.get('average', peer.average)
    unbiased = options.get('unbiased', peer.unbiased)
    wanted = _wanted(xs, average, unbiased)
    found = peer.stats(spec, state)
    return max(error(a, b) for a, b in zip(found, wanted, strict=True))

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
