"""Inference, by statistics that come from elsewhere."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import serialization

from bn_jax.layers.from_torch import from_torch
from experiments.conformance_suite import reference
from experiments.conformance_suite.adapters import base
from experiments.conformance_suite.case import Case, error, make

_GROUP = 'Inference and exchange'
_VECTORS = pathlib.Path(__file__).parents[3] / 'tests/data/torch_batch_norm.npz'
_ROWS = {
  'statistics as given': "x = rng.normal(1, 2, (16, 4)).astype('float32')",
  'running mean 1e4, running variance 1': (
    "x = rng.normal(1e4, 1, (16, 4)).astype('float32')"
  ),
}


def cases():
  """Statistics as given, PyTorch's arrays, a Flax checkpoint."""
  rows = [
    Case(_GROUP, name, 5e-4 if '1e4' in name else 1e-5, _given(code), code)
    for name, code in _ROWS.items()
  ]
  where = "arrays of tests/data/torch_batch_norm.npz, case 'dense'"
  return [
    *rows,
    Case(_GROUP, "a PyTorch state_dict's four arrays", 1e-5, _torch, where),
    Case(_GROUP, 'training on as PyTorch does', 1e-5, _torch_on, where),
    Case(_GROUP, "a Flax checkpoint's bytes", 1e-6, _flax),
  ]


def _given(code):
  def run(peer):
    spec, inputs = make(code)
    mean, var, _ = reference.moments(inputs.x)
    arrays = [a.astype('f4') for a in (inputs.scale, inputs.bias, mean, var)]
    state = peer.state(spec, *map(jnp.asarray, arrays))
    y = peer.evaluate(spec, state, jnp.asarray(inputs.x))
    scale, bias, mean, var = map(reference.wide, arrays)
    return error(y, reference.normalize(inputs.x, mean, var, scale, bias))

  return run


def _vectors():
  found = {}
  for name, value in np.load(_VECTORS).items():
    if name.startswith('dense/'):
      found[name.removeprefix('dense/')] = value
  return found


def _state(peer, spec, arrays, prefix):
  """Through bn_jax's import where the peer is bn_jax, by hand elsewhere."""
  if peer.name == 'bn_jax':
    found = from_torch(arrays, prefix)
    stats = found['batch_stats']
    if spec.average == 'cumulative':
      stats['count'] = jnp.zeros(4)
    return found
  names = ('weight', 'bias', 'running_mean', 'running_var')
  return peer.state(spec, *(jnp.asarray(arrays[prefix + n]) for n in names))


def _torch(peer):
  arrays = _vectors()
  x = arrays['2/x']
  spec = base.Spec(x.shape, momentum=0.9)
  y = peer.evaluate(spec, _state(peer, spec, arrays, '2/'), jnp.asarray(x))
  return error(y, reference.wide(arrays['y_eval']))


def _torch_on(peer):
  """Momentum is 1 - PyTorch's, and the running variance divides by n - 1."""
  arrays = _vectors()
  spec = base.Spec(arrays['0/x'].shape, momentum=0.9)
  if not peer.unbiased:
    spec = spec._replace(unbiased=True)
    peer.state(spec, jnp.ones(5), jnp.zeros(5))  # may it be asked for?
  state, worst = _state(peer, spec, arrays, 'initial/'), 0.0
  for i in range(3):
    y, state = peer.train(spec, state, jnp.asarray(arrays[f'{i}/x']))
    mean, var = peer.stats(spec, state)
    pairs = [(y, 'y'), (mean, 'running_mean'), (var, 'running_var')]
    wanted = [reference.wide(arrays[f'{i}/{n}']) for _, n in pairs]
    found = [a for a, _ in pairs]
    worst = max(
      worst, *(error(a, b) for a, b in zip(found, wanted, strict=True))
    )
  return worst


def _flax(peer):
  """A net of Flax's layers is trained, stored, and read by the peer's."""
  if not hasattr(peer, 'module'):
    raise base.NotSupported('Flax variables')
  x = jnp.asarray(np.random.default_rng(0).normal(1, 2, (16, 4)), jnp.float32)
  theirs = nn.BatchNorm(momentum=0.9)
  variables = theirs.init(jax.random.key(0), x, False)
  _, new = theirs.apply(variables, x, False, mutable=['batch_stats'])
  variables = {**variables, **new}
  stored = serialization.to_bytes(variables)
  empty = peer.module(base.Spec(x.shape)).init(jax.random.key(1), x, True)
  loaded = serialization.from_bytes(empty, stored)
  y = peer.module(base.Spec(x.shape)).apply(loaded, x, True)
  return error(y, reference.wide(theirs.apply(variables, x, True)))
