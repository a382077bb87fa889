"""Figures: each a function from `results.load`'s DataFrame to a figure.

    df = results.load(workdir)
    plots.curves(df, 'validation/accuracy').savefig('curves.pdf')

A strategy has the same colour, line style and marker in every figure.
"""

from bn_jax.plots.rates import sensitivity
from bn_jax.plots.scores import (
  best_after_trials,
  dots,
  heat_map,
  over_field,
  profile,
)
from bn_jax.plots.sites import along_depth, sites_over_steps
from bn_jax.plots.steps import curves, percentiles
from bn_jax.plots.style import label, styles

__all__ = [
  'along_depth',
  'best_after_trials',
  'curves',
  'dots',
  'heat_map',
  'label',
  'over_field',
  'percentiles',
  'profile',
  'sensitivity',
  'sites_over_steps',
  'styles',
]
