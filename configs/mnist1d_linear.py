"""A deep linear network: does normalization help where depth adds nothing?

  python -m experiments.compare --config=configs/mnist1d_linear.py --workdir=DIR

MNIST-1D, a chain of 6 linear layers of 100 units without a nonlinearity, SGD,
batches of 100, 1,500 steps. Whatever the strategy, the network computes what
one linear layer can (under `batch_norm`: at evaluation), so that only how it
learns can differ.

Measured in full, with 10 seeds: 55 s on 2 cores. The four end between 30%
and 32%, `renormalize` last: nothing is gained. What batch norm does to the
layers of such a chain is a claim of its own (`experiments.claims
--only=linear_chain`).
"""

from bn_jax import config as config_lib


def get_config(names: str = 'none'):
  """A run's config for strategies joined by `+`."""
  config = config_lib.default(names, 'linear_chain')
  config.num_train_steps = 1500
  config.model.width = 100
  # `renormalize` edits it; a strategy that makes it redundant drops it.
  config.model.use_bias = True
  return config


def sweep():
  """The four strategies."""
  study = config_lib.study()
  study.search.optimizer.learning_rate = (1e-3, 3e0)
  study.trials = 10
  study.target = 0.3
  return study
