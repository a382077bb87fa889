"""How deep can the network be? Depth x strategy on MNIST-1D.

  python -m experiments.compare --config=configs/mnist1d_depth.py --workdir=DIR

The default network (100 sigmoid units a layer, SGD, batches of 100) with 1, 2,
4, 8 and 16 hidden layers, 1,500 steps. Every strategy is tuned at every depth,
with the same budget.
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
