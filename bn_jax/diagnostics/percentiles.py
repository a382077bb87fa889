"""What does the distribution of one unit look like over training?"""

import jax
import jax.numpy as jnp

LEVELS = (15, 50, 85)


def percentiles(x, mask=None, levels=LEVELS):
  """Percentiles over the batch of one unit, linearly interpolated.

  Source: the levels are those of Ioffe & Szegedy 2015, figure 1.

  Args:
    x: One unit's values, (batch, ...); all axes are the sample.
    mask: Which values count, of a shape that broadcasts to that of `x`.
    levels: In percent.

  Returns:
    (len(levels),) in float32; NaN where the mask leaves nothing.
  """
  x = x.astype(jnp.float32)
  if mask is not None:
    x = jnp.where(mask, x, jnp.nan)
  return jnp.nanpercentile(x, jnp.asarray(levels, jnp.float32))


def of_unit(values, unit: int, levels=LEVELS):
  """`percentiles` of what leaves a site at one unit, over the whole batch.

  Args:
    values: A site's `SiteValues`; where its batch is split over devices, its
      parts are gathered.
    unit: Which of the site's features.
    levels: In percent.
  """
  x, mask = values.output[..., unit], values.mask
  mask = None if mask is None else mask[..., 0]
  if values.axis_name is not None:
    x, mask = jax.lax.all_gather((x, mask), values.axis_name, tiled=True)
  return percentiles(x, mask, levels)
