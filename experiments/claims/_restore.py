"""The scale and bias that make a batch norm network the plain one."""

import jax
import jax.numpy as jnp

from bn_jax import trees
from bn_jax.layers.site import survey
from experiments.claims import _double

EPSILON = 1e-5


def restore(sites, params, inputs):
  """Puts the deviation and mean of what arrives into scale and bias.

  Args:
    sites: Bottom-up.
    params: Of a batch norm network.
    inputs: params -> {site: what arrives there, (batch, units)}.
  """
  for site in sites:
    h = inputs(params)[site.path]
    params = trees.update(
      params, f'{site.path}/norm', bias=jnp.mean(h, 0),
      scale=jnp.sqrt(jnp.var(h, 0) + EPSILON),
    )  # fmt: skip
  return params


def restored_error(lab, seed, restore):
  """Relative errors of the logits in float32 and in float64."""
  batch = jax.tree.map(lambda x: x[0], _double.batches(lab.dataset, seed, 1))
  errors = []
  for dtype in (jnp.float32, jnp.float64):
    image = batch['image'].astype(dtype)
    cast = lambda tree, t=dtype: jax.tree.map(lambda x: x.astype(t), tree)  # noqa: E731
    plain, normal = (
      _double.build(name, {}, depth=3, width=50)
      for name in ('none', 'batch_norm')
    )
    old, _ = _double.start(plain, seed, image)
    new, stats = _double.start(normal, seed, image)
    kernels = {k: {n: v for n, v in old[k].items() if n in new[k]}
               for k in old}  # fmt: skip
    new, stats, old = cast((new | kernels, stats, old))
    sites = survey(normal, jax.ShapeDtypeStruct(image.shape, dtype))

    def run(params, normal=normal, stats=stats, image=image):
      return normal.apply(
        {'params': params, 'batch_stats': stats}, image, train=True,
        mutable=['batch_stats', 'intermediates'],
      )  # fmt: skip

    def inputs(params, run=run):
      seen = run(params)[1]['intermediates']
      return {k: v['input'][0] for k, v in seen.items()}

    a = plain.apply({'params': old}, image, train=True)
    b = run(restore(sites, new, inputs))[0]
    errors.append(float(jnp.linalg.norm(b - a) / jnp.linalg.norm(a)))
  return errors
