"""Identities of the gradient, and JAX's transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.conformance_suite.case import Case, error, make

_IDENTITIES = 'Identities'
_TRANSFORMS = 'Transformations'
_CODE = "x = rng.normal(1, 2, (12, 3)).astype('float32')"


def cases():
  """Identities that hold exactly, then one row a transformation."""
  rows = [
    Case(
      _IDENTITIES, 'sum over the batch of dL/dh is 0', 1e-5, _sum_is_0, _CODE
    ),
    Case(
      _IDENTITIES,
      '<dL/dW, W> = (sum d h^) eps / (var + eps)',
      1e-5,
      _inner,
      _CODE,
    ),
    Case(
      _IDENTITIES, 'output of 100 x - 50 is that of x', 1e-5, _invariant, _CODE
    ),
  ]
  for name, of in _OPERATORS.items():
    rows.append(
      Case(_TRANSFORMS, name, 1e-4, functools.partial(_operate, of), _CODE)
    )
  rows += [
    Case(_TRANSFORMS, 'vmap of gradients', 1e-5, _vmap, _CODE),
    Case(_TRANSFORMS, 'remat of gradients', 1e-5, _remat, _CODE),
    Case(_TRANSFORMS, 'scan over three layers, gradient', 1e-4, _scan, _CODE),
  ]
  return rows


def _setup(epsilon=1e-5):
  spec, inputs = make(_CODE)
  return spec._replace(epsilon=epsilon), inputs


def _dx(peer, spec, x, d):
  ones, zeros = jnp.ones(3), jnp.zeros(3)
  y, (dx, _, _) = peer.gradients(
    spec, jnp.asarray(x), ones, zeros, jnp.asarray(d)
  )
  return np.asarray(y, 'f8'), np.asarray(dx, 'f8')


def _sum_is_0(peer):
  spec, inputs = _setup()
  _, dx = _dx(peer, spec, inputs.x, inputs.d)
  return float(np.abs(dx.sum(0)).max() / np.abs(dx).sum(0).max())


def _inner(peer):
  """With h = X W, dL/dW = X' dL/dh."""
  spec, inputs = _setup(epsilon=0.5)
  W = np.random.default_rng(4).normal(size=(3, 3)).astype('f4')
  h = inputs.x @ W
  y, dh = _dx(peer, spec, h, inputs.d)
  wanted = (inputs.d * y).sum(0) * 0.5 / (h.astype('f8').var(0) + 0.5)
  return error((W * (inputs.x.T @ dh)).sum(0), wanted)


def _invariant(peer):
  spec, inputs = _setup(epsilon=1e-12)
  y, _ = _dx(peer, spec, inputs.x, inputs.d)
  return error(_dx(peer, spec, 100 * inputs.x - 50, inputs.d)[0], y)


def _plain(x, scale, bias):
  """The definition, in float64, differentiated by JAX."""
  mean, var = x.mean(0), x.var(0)
  return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def _loss(f):
  return lambda x, scale, bias: jnp.sum(jnp.sin(f(x, scale, bias)) * jnp.cos(x))


def _both(peer, of):
  """of(f, x, scale, bias) for the peer in float32 and the plain in float64."""
  peer.transforms()
  spec, inputs = _setup()
  arguments = inputs[:3]
  found = of(functools.partial(peer.output, spec), *map(jnp.asarray, arguments))
  found = [np.asarray(a) for a in jax.tree.leaves(found)]
  with jax.enable_x64(True):
    wide = [jnp.asarray(a, jnp.float64) for a in arguments]
    wanted = [np.asarray(a) for a in jax.tree.leaves(of(_plain, *wide))]
  return max(error(a, b) for a, b in zip(found, wanted, strict=True))


def _operate(of, peer):
  return _both(peer, lambda f, *a: of(_loss(f), *a))


def _jvp(f, *a):
  return jax.jvp(f, a, tuple(jnp.cos(3 * b) for b in a))


def _hvp(f, *a):
  v = tuple(jnp.cos(3 * b) for b in a)
  return jax.jvp(jax.grad(f, (0, 1, 2)), a, v)[1]


def _hvp_reverse(f, *a):
  v = tuple(jnp.cos(3 * b) for b in a)
  return jax.grad(lambda *a: jax.jvp(f, a, v)[1], (0, 1, 2))(*a)


_OPERATORS = {
  'jvp': _jvp,
  'hessian': lambda f, *a: jax.hessian(f, (0, 1))(*a),
  'Hessian-vector product, forward over reverse': _hvp,
  'Hessian-vector product, reverse over forward': _hvp_reverse,
}


def _vmap(peer):
  def of(f, x, scale, bias):
    xs = jnp.stack([x, x + 1, 2 * x])
    return jax.vmap(jax.grad(_loss(f), (0, 1, 2)), (0, None, None))(
      xs, scale, bias
    )

  return _both(peer, of)


def _remat(peer):
  return _both(
    peer, lambda f, *a: jax.grad(jax.checkpoint(_loss(f)), (0, 1, 2))(*a)
  )


def _scan(peer):
  def of(f, x, scale, bias):
    def loss(x, scales):
      def layer(h, s):
        return f(jnp.sin(h), s, bias), None

      return jnp.sum(jax.lax.scan(layer, x, scales)[0] ** 3)

    return jax.grad(loss, (0, 1))(x, jnp.stack([scale, scale + 1, 2 * scale]))

  return _both(peer, of)
