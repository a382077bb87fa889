"""How deep can the network be? Depth x strategy on MNIST-1D.

  python -m experiments.compare --config=configs/mnist1d_depth.py --workdir=DIR

The default network (100 sigmoid units a layer, SGD, batches of 100) with 1, 2,
4, 8 and 16 hidden layers, 1,500 steps. Every strategy is tuned at every depth,
with the same budget.

Measured in full, with 10 seeds: 13 min 10 s on 2 cores, beside other work.
`batch_norm` stays between 58% and 66% at all depths; `none` falls from 57%
with one layer to 33% with 4 and to chance from 8 on, `activation_penalty` from
58% to 17%; `renormalize` ends between 47% and 61%.
"""

from bn_jax import config as config_lib


def get_config(names: str = 'none'):
  """A run's config for strategies joined by `+`."""
  config = config_lib.default(names)
  config.num_train_steps = 1500
  return config


def sweep():
  """The four strategies at five depths."""
  study = config_lib.study()
  study.trials = 8
  study.seeds = 10
  study.grid.model = {'depth': (1, 2, 4, 8, 16)}
  study.target = 0.5
  study.timing_rounds = 5
  return study
