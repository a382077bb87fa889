"""Questions about the units of a site that a run may log, by name."""

import jax
import jax.numpy as jnp

from bn_jax.diagnostics import dependence, gaussianity

# Each maps (sample, units) to a number; what is of a unit is the mean over
# units, without its sign.
PROBES = {
  'correlation': dependence.correlation,
  'whiteness': dependence.whiteness,
  'wasserstein': lambda x: jnp.mean(gaussianity.wasserstein(x)),
  'skewness': lambda x: jnp.mean(jnp.abs(gaussianity.skewness(x))),
  'kurtosis': lambda x: jnp.mean(jnp.abs(gaussianity.excess_kurtosis(x))),
}


def answers(sites, names):
  """What a run logs of each site under `log.probes`.

  Args:
    sites: The `SiteValues` of a training batch, which has no padding, bottom
      up. Where it is split over devices its parts are gathered.
    names: Of `PROBES`.

  Returns:
    `site/<name>` of the normalized values, (sites,) in float32.
  """
  samples = [_sample(values) for values in sites]
  return {
    f'site/{name}': jnp.stack([PROBES[name](x) for x in samples])
    for name in names
    if samples
  }


def _sample(values):
  x = values.normalized
  if values.axis_name is not None:
    x = jax.lax.all_gather(x, values.axis_name, tiled=True)
  return x.reshape(-1, x.shape[-1]).astype(jnp.float32)
