"""What a comparison may claim: intervals, tests and curves over seeds.

Resampling is scipy's. A member that diverged is a failed run and stays in
every average, at chance level. The statistics follow Agarwal et al. 2021, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv 2108.13264), and Dodge et al. 2019, "Show Your Work" (arXiv 1909.03004).
"""

from bn_jax.statistics.curves import (
  WorkingRange,
  best_after_trials,
  by_learning_rate,
  performance_profile,
  working_decades,
  working_range,
)
from bn_jax.statistics.intervals import (
  MIN_SEEDS,
  Interval,
  holm,
  interval,
  iqm,
  paired_differences,
  probability_of_improvement,
  trust,
)
from bn_jax.statistics.runs import (
  failure,
  finals,
  steps_to,
  with_failures,
)

__all__ = [
  'MIN_SEEDS',
  'Interval',
  'WorkingRange',
  'best_after_trials',
  'by_learning_rate',
  'failure',
  'finals',
  'holm',
  'interval',
  'iqm',
  'paired_differences',
  'performance_profile',
  'probability_of_improvement',
  'steps_to',
  'trust',
  'with_failures',
  'working_decades',
  'working_range',
]
