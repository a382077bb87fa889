"""A batch spread over devices or a mapped axis: the whole batch's answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.conformance_suite import reference
from experiments.conformance_suite.adapters import base
from experiments.conformance_suite.case import Case, error

_GROUP = 'Shards'
_CODE = "x = rng.normal(2, 3, (4, 5, 3)).astype('float32')  # 4 shards of 5"
# Shards that count 3, 1, 2 and 5 of their 5 examples.
_UNEVEN = np.arange(5) < np.array([[3], [1], [2], [5]])


def _vmap(f):
  return jax.vmap(f, axis_name='data')


def _pmap(f):
  return jax.pmap(f, axis_name='data', devices=jax.devices()[:4])


def _shard_map(f):
  mesh = jax.make_mesh(
    (4,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:4]
  )

  def one(*args):
    return jax.tree.map(lambda a: a[None], f(*(a[0] for a in args)))

  mapped = jax.shard_map(
    one, mesh=mesh, in_specs=P('data'), out_specs=P('data')
  )
  return jax.jit(mapped)


def _nested(f):
  """vmap over half the shards inside vmap over the other half."""

  def run(*args):
    args = [a.reshape(2, 2, *a.shape[1:]) for a in args]
    inner = jax.vmap(f, axis_name='data')
    out = jax.vmap(inner, axis_name='more')(*args)
    return jax.tree.map(lambda a: a.reshape(4, *a.shape[2:]), out)

  return run


def _members(f):
  """Two members over pmap's devices, each under vmap: not to be mixed."""

  def run(*args):
    two = [jnp.stack([a, a[::-1]], 1) for a in args]
    return jax.tree.map(lambda a: a[:, 0], _pmap(jax.vmap(f))(*two))

  return run


def cases():
  """Each way to spread a batch: output, gradient to x, and statistics."""
  rows = [
    ('vmap', _vmap, {}),
    ('pmap', _pmap, {}),
    ('shard_map', _shard_map, {}),
    ('two nested axes', _nested, {'axis_name': ('more', 'data')}),
    ('vmap over members inside pmap', _members, {}),
    ('groups under pmap', _pmap, {'groups': [[0, 1], [2, 3]]}),
    ('unequal masks under vmap', _vmap, {'mask': True}),
    ('unequal masks under pmap', _pmap, {'mask': True}),
    ('unequal masks under shard_map', _shard_map, {'mask': True}),
  ]
  made = [
    Case(_GROUP, name, 1e-5, functools.partial(_run, spread, **options), _CODE)
    for name, spread, options in rows
  ]
  return [*made, Case(_GROUP, 'sharded batch under jit', 1e-5, _jit, _CODE)]


def _draw():
  x = np.random.default_rng(0).normal(2, 3, (4, 5, 3)).astype('f4')
  return x, np.random.default_rng(1).normal(size=(4, 5, 3)).astype('f4')


def _wanted(x, d, mask, ways):
  """y, dx, mean and var of each group of shards, laid out as the shards."""
  out = []
  for part in np.split(np.arange(4), ways):
    m = None if mask is None else mask[part].reshape(-1, 1)
    flat = (x[part].reshape(-1, 3), np.ones(3), np.zeros(3))
    r = reference.batch_norm(*flat, d[part].reshape(-1, 3), mask=m)
    shape = (len(part), 5, 3)
    stats = (np.broadcast_to(a, (len(part), 3)) for a in (r.mean, r.var))
    out.append((r.y.reshape(shape), r.dx.reshape(shape), *stats))
  return [np.concatenate(a) for a in zip(*out, strict=True)]


def _layer(peer, spec, mask):
  """(x, d, on) -> y, dx and the statistics of one step."""
  state = peer.state(spec, jnp.ones(3), jnp.zeros(3))

  def f(x, d, on):
    def forward(x):
      y, new = peer.train(spec, state, x, on[:, None] if mask else None)
      return y, peer.stats(spec, new)

    y, pull, stats = jax.vjp(forward, x, has_aux=True)
    return y, pull(d)[0], *stats

  return f


def _run(spread, peer, axis_name='data', groups=None, mask=False):
  peer.transforms()
  spec = base.Spec((5, 3), momentum=0.0, axis_name=axis_name, groups=groups)
  x, d = _draw()
  on = _UNEVEN if mask else np.ones((4, 5), bool)
  found = spread(_layer(peer, spec, mask))(x, d, on)
  wanted = _wanted(x, d, on if mask else None, 2 if groups else 1)
  return max(error(a, b) for a, b in zip(found, wanted, strict=True))


def _jit(peer):
  """No axis name: the statistics are the global batch's."""
  peer.transforms()
  mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))
  x, d = _draw()
  spec = base.Spec((20, 3), momentum=0.0)
  flat = x.reshape(20, 3), d.reshape(20, 3), np.ones(20, bool)
  flat = [jax.device_put(a, NamedSharding(mesh, P('data'))) for a in flat]
  found = jax.jit(_layer(peer, spec, False))(*flat)
  y, dx, mean, var = _wanted(x, d, None, 1)
  wanted = (y.reshape(20, 3), dx.reshape(20, 3), mean[0], var[0])
  return max(error(a, b) for a, b in zip(found, wanted, strict=True))
