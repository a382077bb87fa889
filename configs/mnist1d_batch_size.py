"""How small can the batch be? Batch size x strategy on MNIST-1D.

  python -m experiments.compare --config=configs/mnist1d_batch_size.py \
      --workdir=DIR

The default network (6 hidden layers of 100 sigmoid units, SGD) with batches of
2, 4, 8, 16, 64 and 256 examples, 2,000 steps each: small batches see fewer
examples. Every strategy is tuned at every batch size, with the same budget.
"""

from bn_jax import config as config_lib


def get_config(names: str = 'none'):
  """A run's config for strategies joined by `+`."""
  config = config_lib.default(names)
  config.num_train_steps = 2000
  return config


def sweep():
  """The four strategies at six batch sizes."""
  study = config_lib.study()
  study.trials = 8
  study.seeds = 5
  study.grid.batch_size = (2, 4, 8, 16, 64, 256)
  study.target = 0.4
  study.timing_rounds = 5
  return study
