"""Seconds until a strategy's first step, in a process of its own.

  python -m experiments.benchmark start
  python -m experiments.benchmark start --rounds=15 --out=start.md

The default network on MNIST-1D. From the call of `train.fit`, with libraries
imported and the set in memory, until the first chunk of steps is recorded, less
what the next chunk of as many steps takes. Arms:

  cold            nothing is kept from earlier processes
  XLA's programs  what JAX keeps between processes, and nothing else
  bn_jax          what the commands keep, see bn_jax/programs.py

About six minutes on two cores. Nothing else should run meanwhile.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

from experiments.benchmarks import harness

STRATEGIES = ('none', 'activation_penalty', 'renormalize', 'batch_norm')
ARMS = ('cold', "XLA's programs", 'bn_jax')
COLUMNS = ('', 'arm', 'median, s', 'low', 'high')


def main(argv):
  """Measures every arm and prints the table."""
  options = harness.options(__doc__, argv)
  rows = []
  for strategy in STRATEGIES:
    with tempfile.TemporaryDirectory() as base:
      found = _measure(strategy, pathlib.Path(base), options.rounds)
    for arm, seconds in found.items():
      spread = statistics.median(seconds), min(seconds), max(seconds)
      rows.append([strategy, arm, *(f'{s:.2f}' for s in spread)])
  table = Table(*COLUMNS, title='seconds until the first step')
  for row in rows:
    table.add_row(*row)
  Console().print(table)
  if options.out:
    lines = ['# Benchmark: start', '', *harness.machine(), '']
    lines += ['Seconds until the first step:', '']
    lines += ['| ' + ' | '.join(row) + ' |' for row in (COLUMNS, *rows)]
    lines.insert(-len(rows), '| --- | --- | --- | --- | --- |')
    pathlib.Path(options.out).write_text('\n'.join([*lines, '']))


def _measure(strategy, base, rounds):
  """{arm: seconds of each round}; they take turns, back and forth."""
  found = {arm: [] for arm in ARMS}
  for arm in ARMS[1:]:
    _run(strategy, arm, base / arm)  # fills what is kept
  for number in range(rounds):
    print(f'\r{strategy}: round {number + 1} ', end='', file=sys.stderr)
    for arm in ARMS[:: -1 if number % 2 else 1]:
      kept = base / (f'{arm} {number}' if arm == 'cold' else arm)
      found[arm].append(_run(strategy, arm, kept))
  print(file=sys.stderr)
  return found


def _run(strategy, arm, kept):
  done = subprocess.run(
    [sys.executable, '-m', __name__, strategy, arm],
    env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': str(kept)},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return float(done.stdout)


def once(strategy, arm):
  """Seconds until the first step of a run in this process."""
  from bn_jax import config as config_lib
  from bn_jax import devices, programs, train

  if arm != ARMS[1]:
    programs.keep('__main__')
  devices.set_up()
  config = config_lib.default(strategy)
  config.num_train_steps = 2 * config.log.eval_every
  member = {'seed': 0, 'hparams': {'optimizer.learning_rate': 0.1}}
  train.load(config.data)
  with tempfile.TemporaryDirectory() as workdir:
    times = [time.perf_counter()]
    train.fit(
      config,
      [member],
      workdir,
      progress=lambda steps, taken=True: times.append(time.perf_counter()),
    )
  began, first, second = times
  return first - began - (second - first)


if __name__ == '__main__':
  print(once(*sys.argv[1:]))
