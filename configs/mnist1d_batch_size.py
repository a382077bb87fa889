"""How small can the batch be? Batch size x strategy on MNIST-1D.

  python -m experiments.compare --config=configs/mnist1d_batch_size.py \
      --workdir=DIR

The default network with ReLU instead of sigmoid units, so that it trains
without normalization, too; 2,000 steps of SGD with batches of 2, 4, 8, 16, 64
and 256 examples: a small batch sees fewer of them. Every strategy is tuned at
every batch size, with the same budget.

Measured in full, with 10 seeds: 9 min 15 s on 2 cores. `none` rises from 34%
with batches of 2 to 69% with 256; `batch_norm` is 22 points below it at 2, and
ahead from 16 on; `renormalize` diverges with batches of 2 and mostly with 4,
and reaches 71% with 256.
"""

from bn_jax import config as config_lib


def get_config(names: str = 'none'):
  """A run's config for strategies joined by `+`."""
  config = config_lib.default(names)
  config.num_train_steps = 2000
  config.model.activation = 'relu'
  return config


def sweep():
  """The four strategies at six batch sizes."""
  study = config_lib.study()
  study.search.optimizer.learning_rate = (3e-3, 3.0)
  study.trials = 8
  study.seeds = 10
  study.grid.batch_size = (2, 4, 8, 16, 64, 256)
  study.target = 0.4
  study.timing_rounds = 5
  return study
