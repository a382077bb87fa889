"""ResNet-20 on CIFAR-10, as He et al. 2015 (arXiv 1512.03385) train it.

  TFDS_DATA_DIR=DIR python -m experiments.train --workdir=runs/resnet \
      --config=configs/cifar10_resnet.py:batch_norm

Where CIFAR-10 is not at hand, Fashion-MNIST stands in:

  TFDS_DATA_DIR=DIR python -m experiments.train --workdir=runs/resnet \
      --config=configs/cifar10_resnet.py:batch_norm \
      --config.data.name=fashion_mnist

Momentum SGD at 0.1, weight decay 1e-4 on kernels alone, batches of 128,
64,000 steps, crop and flip on the device, the rate divided by 10 at half and
at three quarters. The paper is said to reach a test error of 8.75%
(unverified). On 2 cores a step takes 1.1 s, and 0.64 s with
`--config.mesh.data=2` (between steps 100 and 200 of images of this size): by
that rate 11 hours for the whole run. The whole run and its accuracy are not
measured here, and nothing on a GPU.
"""

from bn_jax import config as config_lib


def get_config(names: str = 'batch_norm'):
  """A run's config for strategies joined by `+`."""
  config = config_lib.default(names, 'resnet')
  config.num_train_steps = 64_000
  config.batch_size = 128
  config.augment = 'crop_and_flip'
  config.data.name = 'cifar10'
  config.optimizer.learning_rate = 0.1
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 1e-4
  config.optimizer.schedule = 'step'
  config.log.every = 100
  # A run that is told to stop loses the steps since the last evaluation, and
  # ends when the dispatch does that it is in: minutes on a CPU.
  config.log.eval_every = 200
  return config


def sweep():
  """Plain, and with batch norm."""
  study = config_lib.study()
  study.strategies = ('none', 'batch_norm')
  study.trials = 4
  study.seeds = 3
  study.search.optimizer.learning_rate = (1e-3, 3e-1)
  study.target = 0.9
  return study
