"""Steps per second of a convolutional network, against loops people write.

  python -m experiments.benchmark convnet
  python -m experiments.benchmark convnet --rounds=15 --images=32x32x3

Three 3 x 3 convolutions of 32, 64 and 64 channels, each with batch norm, ReLU
and a 2 x 2 maximum, and a linear layer; batch 128, SGD with momentum. Arms,
each in a process of its own that waits while the others run:

  bn_jax          a population with a member per core, a chunk of steps a burst
  bn_jax single   one member, on one core
  Flax loop       flax.linen, a jitted step per Python iteration, on all cores
  PyTorch         eager, channels_last, on all cores (where it is installed)

`+ malloc` is the same with glibc's thresholds raised (bn_jax/allocator.py).
The bursts of all arms alternate; the figures are medians over the rounds.
"""

import argparse
import functools
import importlib.util
import os
import sys
import time

import numpy as np

from experiments.benchmarks import harness

MODULE = 'experiments.benchmarks.convnet'  # also where it is run directly
BATCH, FEATURES, CLASSES, EXAMPLES = 128, (32, 64, 64), 10, 4096
RATE, MOMENTUM = 0.1, 0.9
BURST = 20  # steps of a run in one burst
SUFFIX = ' + malloc'
IMAGES = ('28x28x1', '32x32x3')


def main(argv):
  """Measures every arm and prints the tables."""
  parser = argparse.ArgumentParser(add_help=False)
  parser.add_argument('--images', choices=IMAGES, help='default: both')
  own, rest = parser.parse_known_args(argv)
  options = harness.options(__doc__, rest)
  names = ['bn_jax', 'bn_jax single', 'Flax loop']
  names = [n for name in names for n in (name, name + SUFFIX)]
  if importlib.util.find_spec('torch'):
    names.append('PyTorch')
  tables = []
  for images in [own.images] if own.images else IMAGES:
    commands = {name: [[MODULE, name, images]] for name in names}
    rates = harness.measure(commands, options.rounds)
    tables.append((f'{images}: run-steps per second', rates))
  harness.show(tables, 'bn_jax' + SUFFIX, options.out, 'convnet')


def data(shape):
  """Random images and labels."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (EXAMPLES, *shape), np.uint8)
  return image, rng.integers(0, CLASSES, EXAMPLES).astype(np.int32)


def ours(shape, num_members):
  """A burst of bn_jax's population: returns run-steps."""
  from bn_jax import config as config_lib
  from bn_jax import devices
  from bn_jax.data import Dataset, Split
  from bn_jax.population import Population

  devices.set_up()
  config = config_lib.default('batch_norm', 'convnet')
  config.batch_size = BATCH
  config.model.features = FEATURES
  config.optimizer.momentum = MOMENTUM
  config.log.every, config.log.sites = BURST, False
  split = Split(*data(shape))
  mean, std = np.zeros(shape[-1]), np.full(shape[-1], 255.0)
  dataset = Dataset('random', split, split, split, CLASSES, mean, std, ())
  members = [
    {'seed': i, 'hparams': {'optimizer.learning_rate': RATE}}
    for i in range(num_members or len(os.sched_getaffinity(0)))
  ]
  population = Population(config.to_dict(), dataset, members)
  state, step = population.initialize(), 0

  def burst():
    nonlocal state, step
    state, metrics = population.train(state, step, BURST)
    population.fetch(metrics)
    step += BURST
    return len(members) * BURST

  return burst


def flax_loop(shape):
  """A burst of the loop that Flax's examples show: returns steps."""
  import flax.linen as nn
  import jax
  import optax

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      for features in FEATURES:
        x = nn.Conv(features, (3, 3), use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=False, momentum=0.9)(x)
        x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
      return nn.Dense(CLASSES)(x.reshape(len(x), -1))

  net, optimizer = Net(), optax.sgd(RATE, MOMENTUM)
  image, label = data(shape)
  image = image.astype(np.float32) / 255
  variables = net.init(jax.random.key(0), image[:BATCH])
  params, stats = variables['params'], variables['batch_stats']
  opt_state = optimizer.init(params)

  @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
  def step(params, stats, opt_state, x, y):
    def objective(params):
      logits, new = net.apply(
        {'params': params, 'batch_stats': stats}, x, mutable=['batch_stats']
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      return losses.mean(), new['batch_stats']

    grads, stats_ = jax.grad(objective, has_aux=True)(params)
    updates, opt_state = optimizer.update(grads, opt_state)
    return optax.apply_updates(params, updates), stats_, opt_state

  rng = np.random.default_rng(0)

  def burst():
    nonlocal params, stats, opt_state
    for _ in range(BURST):
      index = rng.integers(0, EXAMPLES, BATCH)
      params, stats, opt_state = step(
        params, stats, opt_state, image[index], label[index]
      )
    jax.block_until_ready(params)
    return BURST

  return burst


def torch_loop(shape):
  """A burst of PyTorch in eager mode: returns steps."""
  import torch
  from torch import nn

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  channels, modules = shape[-1], []
  for features in FEATURES:
    modules += [
      nn.Conv2d(channels, features, 3, padding=1, bias=False),
      nn.BatchNorm2d(features),
      nn.ReLU(inplace=True),
      nn.MaxPool2d(2),
    ]
    channels = features
  pixels = (shape[0] // 8) * (shape[1] // 8)
  net = nn.Sequential(
    *modules, nn.Flatten(), nn.Linear(channels * pixels, CLASSES)
  ).to(memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
  image, label = data(shape)
  image = torch.tensor(image / np.float32(255)).permute(0, 3, 1, 2)
  label = torch.tensor(label).long()

  def burst():
    for _ in range(BURST):
      index = torch.randint(0, EXAMPLES, (BATCH,))
      x = image[index].contiguous(memory_format=torch.channels_last)
      optimizer.zero_grad()
      nn.functional.cross_entropy(net(x), label[index]).backward()
      optimizer.step()
    return BURST

  return burst


def worker(name, images):
  """Serves the bursts of one arm."""
  shape = tuple(map(int, images.split('x')))
  if name.endswith(SUFFIX):
    from bn_jax import allocator

    allocator.raise_thresholds()
  arms = {
    'bn_jax': lambda: ours(shape, 0),
    'bn_jax single': lambda: ours(shape, 1),
    'Flax loop': lambda: flax_loop(shape),
    'PyTorch': lambda: torch_loop(shape),
  }
  began = time.perf_counter()
  burst = arms[name.removesuffix(SUFFIX)]()
  burst()
  print(
    f'{name}: ready in {time.perf_counter() - began:.1f} s', file=sys.stderr
  )
  harness.serve(burst)


if __name__ == '__main__':
  if sys.argv[1:2] and not sys.argv[1].startswith('-'):
    worker(*sys.argv[1:])
  else:
    main(sys.argv[1:])
