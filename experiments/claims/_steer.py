"""How many steps does it take to move the means of a deep layer?"""

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax.layers.site import survey
from experiments.claims import _double

LIMIT = 100


def steps_to_steer(lab, strategy, depth, target):
  """Steps until the means are at their target, (rates, seeds)."""
  model = _double.build(strategy, {}, depth=depth, width=32)
  rates = jnp.geomspace(1e-3, 1.0, 7)

  @jax.jit
  def run(seed, image):
    site = survey(model, jax.ShapeDtypeStruct(image.shape, image.dtype))[-1]
    start = model.init(jax.random.key(seed), image, train=False)

    def means(params):
      _, new = model.apply(
        {**start, 'params': params}, image, train=True,
        mutable=['batch_stats', 'intermediates'],
      )  # fmt: skip
      return jnp.mean(new['intermediates'][site.path]['output'][0], 0)

    move = jax.random.normal(jax.random.key(seed + 1), (32,))
    aim = jnp.ones(32, bool) if target == 'all' else jnp.arange(32) == 0
    wanted = means(start['params']) + (move if target == 'all' else 1.0)

    def miss(params):
      off = jnp.where(aim, means(params) - wanted, 0.0)
      return jnp.sum(off**2) / 2, jnp.max(jnp.abs(off))

    def settle(rate):
      def step(params, _):
        g, off = jax.grad(miss, has_aux=True)(params)
        return jax.tree.map(lambda p, d: p - rate * d, params, g), off

      _, off = jax.lax.scan(step, start['params'], length=LIMIT)
      outside = ~(off < 0.05)
      return jnp.max(jnp.where(outside, jnp.arange(LIMIT) + 1, 0))

    return jax.vmap(settle)(rates)

  part, data = lab.dataset.train, lab.dataset
  found = []
  for seed in lab.seeds:
    index = np.random.default_rng(seed).integers(0, len(part.label), 100)
    image = (part.image[index] - data.mean) / data.std
    found.append(np.asarray(run(seed, image.astype(np.float32)), float))
  return np.stack(found, 1)
