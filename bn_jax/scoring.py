"""From sums over an evaluation's batches to scores, in NumPy and float64.

Not in the program that makes the sums: a part that streams arrives in pieces,
and its scores are those of one that does not, to the last bit.
"""

from collections.abc import Sequence

import numpy as np


# What a member that diverged has is no news.
@np.errstate(invalid='ignore', over='ignore')
def scores(
  sums: dict, gone: np.ndarray, units_of: Sequence[str] = ()
) -> dict[str, np.ndarray]:
  """Every member's scores over all batches.

  Args:
    sums: What `step.Program.eval_step` returns, each (members, batches, ...).
    gone: Which members diverged, (members,); theirs are NaN.
    units_of: The paths of all sites, where each unit is to be told.

  Returns:
    float32: `loss` and `accuracy` (members,); `site/mean`, `site/var` and
    `site/distance` (members, sites), where there are sites;
    `units/<path>/mean` and `units/<path>/var` (members, units), where they
    were asked for.
  """
  total = sums['count'].sum(1, dtype=float)
  found = {
    'loss': sums['loss'].sum(1, dtype=float) / total,
    'accuracy': sums['correct'].sum(1, dtype=float) / total,
  }
  merged = [merge(moments) for moments in sums['moments']]
  if merged:
    found['site/mean'] = np.stack([m.mean(-1) for m, _ in merged], -1)
    found['site/var'] = np.stack([v.mean(-1) for _, v in merged], -1)
    distances = [distance(mean, var) for mean, var in merged]
    found['site/distance'] = np.stack(distances, -1)
  for path, (mean, var) in zip(units_of, merged, strict=False):
    found |= {f'units/{path}/mean': mean, f'units/{path}/var': var}
  for values in found.values():
    values[gone] = np.nan
  return {name: values.astype(np.float32) for name, values in found.items()}


def merge(moments):
  """Mean and variance over batches from each batch's own.

  Args:
    moments: `functional.Moments` of arrays (..., batches, units).

  Returns:
    Two arrays (..., units), float64.
  """
  count, means, variances = (np.asarray(x, float) for x in (
    moments.count, moments.mean, moments.var
  ))  # fmt: skip
  weight = count / count.sum(-2, keepdims=True)
  mean = (weight * means).sum(-2)
  spread = variances + (means - mean[..., None, :]) ** 2
  return mean, (weight * spread).sum(-2)


def distance(mean, var):
  """`diagnostics.normality.distance` in NumPy: (..., units) -> (...)."""
  squared = mean**2 + (np.sqrt(var) - 1) ** 2
  return np.sqrt(squared.mean(-1))
