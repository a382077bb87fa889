"""Whose update moves a site's mean: the split of a step, in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax.diagnostics.update_split import share, update_split
from bn_jax.layers.site import survey
from experiments.claims import _double, _lab

RATE = 0.3


def mean_shares(lab, strategy, marks):
  """Shares of the change of the sites' means in a step of descent.

  Returns:
    The own bias's share at each site, (seeds, marks, sites), and each layer's
    at each site, (seeds, marks, sites, layers) of the layers that feed sites.
  """
  config = lab.config(
    strategy, num_train_steps=max(marks), optimizer__learning_rate=RATE
  )
  probe = lambda program, state, batch: {'params': state.params}  # noqa: E731
  seen = lab.explore(config, lab.members({}), probe, marks, {})['params']
  model = _double.build(strategy, {})
  with _double.float64():
    batch = _double.batches(lab.dataset, _lab.PROBE_SEED, 1)
    batch = jax.tree.map(lambda x: x[0], batch)
    sites = survey(model, jax.ShapeDtypeStruct((2, 40), jnp.float64))
    _, stats = _double.start(model, 0, batch['image'])

    @jax.jit
    def look(params):
      params = _double.double(params)
      g = jax.grad(lambda p: _double.loss(model, p, stats, batch)[0])(params)
      new = jax.tree.map(lambda p, d: p - RATE * d, params, g)
      means = lambda p: _double.site_means(model, p, stats, batch['image'])  # noqa: E731
      changes = update_split(means, params, new)
      own = [own_share(changes, i, s) for i, s in enumerate(sites)]
      return jnp.stack(own), layer_shares(changes, sites)

    shape = len(lab.seeds), len(marks)
    return tuple(
      np.asarray(found).reshape(*shape, *found.shape[1:])
      for found in jax.lax.map(look, _flatten(seen))
    )


def _flatten(params):
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), params)


def own_share(changes, number, site):
  """The share of a site's own bias in the change of its mean."""
  own = f'{site.path}/norm/bias'
  own = own if own in changes else f'{site.feeder}/bias'
  return share({k: v[number] for k, v in changes.items()}, own)


def layer_shares(changes, sites):
  """Of the change at each site: a share for each site's layer, bottom-up.

  A layer's arrays are those of the site and of the linear layer that feeds it.

  Returns:
    (sites whose mean moves, layers whose arrays move).
  """

  def whole(site):
    owners = f'{site.path}/', f'{site.feeder}/'
    return sum(share(changes, k) for k in changes if k.startswith(owners))

  return jnp.stack([whole(site) for site in sites], -1)
