"""Run-steps per second of the trainer, against loops that people write.

  python -m experiments.benchmark trainer
  python -m experiments.benchmark trainer --rounds=15 --out=trainer.md
  python -m experiments.benchmark trainer --members=1,8,64,256

The network of Ioffe & Szegedy 2015, figure 1: 784-100-100-100-10, sigmoid,
batch 60, SGD, with and without batch norm. Arms, each in a process of its own
that waits while the others run:

  bn_jax          a population of 8 members, nothing logged but loss, accuracy
  bn_jax logged   the same, with mean and variance of every site's units at
                  every step and percentiles every 100 steps
  Flax loop       flax.linen, a jitted step per Python iteration
  PyTorch         eager, on all cores (where PyTorch is installed)
  PyTorch x N     as many processes as cores, one thread each

The bursts of all arms alternate; the figures are medians over the rounds.
--members measures bn_jax alone, a population of each size: its rate should grow
into the hundreds on a GPU or TPU, and up to the number of cores on a CPU.
"""

import argparse
import functools
import importlib.util
import itertools
import os
import sys
import time

import numpy as np

from experiments.benchmarks import harness

BATCH, SIZES, EXAMPLES = 60, (784, 100, 100, 100, 10), 20_000
MEMBERS, EVERY = 8, 100
BURST = 600  # steps of a run in one burst


def main(argv):
  """Measures every arm and prints the tables."""
  parser = argparse.ArgumentParser(add_help=False)
  parser.add_argument('--members', type=_sizes, help='such as 1,8,64,256')
  own, rest = parser.parse_known_args(argv)
  options = harness.options(__doc__, rest)
  arms = _arms(own.members)
  tables = []
  for strategy in ('none', 'batch_norm'):
    commands = {
      arm: [[__name__, name, strategy, str(processes), str(members)]]
      * processes
      for arm, (name, processes, members) in arms.items()
    }
    rates = harness.measure(commands, options.rounds)
    tables.append((f'{strategy}: run-steps per second', rates))
  harness.show(tables, next(iter(arms)), options.out, 'trainer')


def _sizes(text):
  return [int(word) for word in text.split(',')]


def _arms(sizes):
  """{arm: (loop, processes, members)}, the one that matters first."""
  if sizes:
    return {f'population of {size}': ('bn_jax', 1, size) for size in sizes}
  cores = len(os.sched_getaffinity(0))
  arms = {name: (name, 1, MEMBERS) for name in ('bn_jax', 'bn_jax logged')}
  arms['Flax loop'] = ('Flax loop', 1, 1)
  if importlib.util.find_spec('torch'):
    arms['PyTorch'] = ('PyTorch', 1, 1)
    arms[f'PyTorch x {cores}'] = ('PyTorch', cores, 1)
  return arms


def data():
  """Random images with the shape and type of MNIST's."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (EXAMPLES, 28, 28, 1), np.uint8)
  return image, rng.integers(0, 10, EXAMPLES).astype(np.int32)


def ours(strategy, logged, count):
  """A burst of bn_jax's population of `count`: returns run-steps."""
  from bn_jax import config as config_lib
  from bn_jax import devices
  from bn_jax.data import Dataset, Split
  from bn_jax.population import Population

  devices.set_up()
  config = config_lib.default(strategy)
  config.batch_size = BATCH
  config.model.depth, config.model.width = len(SIZES) - 2, SIZES[1]
  config.log.every = EVERY
  config.log.sites = config.log.percentiles = logged
  split = Split(*data())
  dataset = Dataset(
    'random', split, split, split, 10, np.zeros(1), np.full(1, 255.0), ()
  )
  members = [
    {'seed': i, 'hparams': {'optimizer.learning_rate': 0.1}}
    for i in range(count)
  ]
  population = Population(config.to_dict(), dataset, members)
  state, step = population.initialize(), 0
  # As much work for any size, in whole rows of the curves.
  steps = max(1, BURST * MEMBERS // count // EVERY) * EVERY

  def burst():
    nonlocal state, step
    state, metrics = population.train(state, step, steps)
    population.fetch(metrics)
    step += steps
    return len(population.members) * steps

  return burst


def flax_loop(strategy):
  """A burst of the loop that Flax's examples show: returns steps."""
  import flax.linen as nn
  import jax
  import optax

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      for width in SIZES[1:-1]:
        x = nn.Dense(width, use_bias=strategy == 'none')(x)
        if strategy == 'batch_norm':
          x = nn.BatchNorm(use_running_average=False, momentum=0.9)(x)
        x = nn.sigmoid(x)
      return nn.Dense(SIZES[-1])(x)

  net, optimizer = Net(), optax.sgd(0.1)
  image, label = data()
  image = image.reshape(EXAMPLES, -1).astype(np.float32) / 255
  variables = net.init(jax.random.key(0), image[:BATCH])
  params, stats = variables['params'], variables.get('batch_stats', {})
  opt_state = optimizer.init(params)

  @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
  def step(params, stats, opt_state, x, y):
    def objective(params):
      logits, new = net.apply(
        {'params': params, 'batch_stats': stats}, x, mutable=['batch_stats']
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      return losses.mean(), new.get('batch_stats', {})

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


def torch_loop(strategy, processes):
  """A burst of PyTorch in eager mode: returns steps."""
  import torch
  from torch import nn

  cores = len(os.sched_getaffinity(0))
  torch.set_num_threads(1 if processes > 1 else cores)
  modules = []
  for rows, columns in itertools.pairwise(SIZES[:-1]):
    modules.append(nn.Linear(rows, columns, bias=strategy == 'none'))
    if strategy == 'batch_norm':
      modules.append(nn.BatchNorm1d(columns))
    modules.append(nn.Sigmoid())
  net = nn.Sequential(*modules, nn.Linear(*SIZES[-2:]))
  optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
  image, label = data()
  image = torch.tensor(image.reshape(EXAMPLES, -1) / np.float32(255))
  label = torch.tensor(label).long()

  def burst():
    for _ in range(BURST):
      index = torch.randint(0, EXAMPLES, (BATCH,))
      optimizer.zero_grad()
      nn.functional.cross_entropy(net(image[index]), label[index]).backward()
      optimizer.step()
    return BURST

  return burst


def worker(name, strategy, processes, members):
  """Serves the bursts of one arm."""
  arms = {
    'bn_jax': lambda: ours(strategy, False, int(members)),
    'bn_jax logged': lambda: ours(strategy, True, int(members)),
    'Flax loop': lambda: flax_loop(strategy),
    'PyTorch': lambda: torch_loop(strategy, int(processes)),
  }
  began = time.perf_counter()
  burst = arms[name]()
  burst()
  print(
    f'{name}: ready in {time.perf_counter() - began:.1f} s', file=sys.stderr
  )
  harness.serve(burst)


if __name__ == '__main__':
  worker(*sys.argv[1:])
