"""Linear chains in float64: what normalization leaves, what a step does."""

import jax
import jax.numpy as jnp

from bn_jax.diagnostics.prediction import prediction_error
from experiments.claims import _double

STEPS = (0.003, 0.01, 0.03, 0.1)


def hidden_share(found):
  """Of the squared gradient, (seeds,)."""
  return found['hidden'] ** 2 / (found['hidden'] ** 2 + found['head'] ** 2)


def measure_chain(seeds, strategy, width, depth):
  """Errors (seeds, steps), lengths of the gradient, distance from x."""
  options = {'batch_norm': {'epsilon': 0.0, 'affine': False}}.get(strategy, {})
  model = _double.build(
    strategy, options, 'linear_chain', depth=depth, width=width,
    num_classes=width, kernel_init='orthogonal',
  )  # fmt: skip
  # Not jitted: XLA would fuse the chain into itself without end.
  one = jax.vmap(lambda seed: _one(model, seed, width))
  return _double.numbers(one(jnp.array(seeds)))


def _one(model, seed, width):
  keys = jax.random.split(jax.random.key(seed), 3)
  x = jax.random.normal(keys[0], (1000, width))
  turn = jnp.linalg.qr(jax.random.normal(keys[1], (width, width)))[0]
  t = x @ turn if width > 1 else x
  params, stats = _double.start(model, seed, x)
  if width == 1:
    params = _near_one(params, keys[2])

  def run(params):
    y, new = model.apply(
      {'params': params, 'batch_stats': stats}, x, train=True,
      mutable=['batch_stats', 'intermediates'],
    )  # fmt: skip
    return jnp.mean(jnp.sum(y * t, -1)), new['intermediates']

  g, seen = jax.grad(run, has_aux=True)(params)
  lengths = {
    k: jnp.sum(d['kernel'] ** 2) for k, d in g.items() if 'kernel' in d
  }
  head = lengths.pop('head')
  objective = lambda params: run(params)[0]  # noqa: E731
  last = seen[max(seen, key=lambda k: int(k[5:]))]['output'][0]
  standard = (x - jnp.mean(x, 0)) / jnp.std(x, 0)
  return {
    'error': jnp.stack(
      [prediction_error(objective, params, g, e) for e in STEPS]
    ),
    'head': jnp.sqrt(head),
    'hidden': jnp.sqrt(sum(lengths.values())),
    'distance': jnp.max(jnp.abs(last - product_sign(params) * standard)),
  }


def product_sign(params):
  """sign(w_1 ... w_l), of the hidden kernels; for a scalar chain only."""
  hidden = [v['kernel'] for k, v in params.items() if k.startswith('dense')]
  return jnp.prod(jnp.sign(jnp.stack([w[0, 0] for w in hidden])))


def _near_one(params, key):
  leaves, shape = jax.tree.flatten(params)
  size, sign = jax.random.normal(key, (2, len(leaves)))
  new = jnp.sign(sign) * jnp.exp(0.1 * size)
  return jax.tree.unflatten(shape, [v.reshape(1, 1) for v in new])
