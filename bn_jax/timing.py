"""Time per step, with the runs in turns: a shared machine slows all alike."""

import math
import time
from collections.abc import Callable

import jax
import numpy as np

from bn_jax import hosts
from bn_jax.population import Population

TURN_SECONDS = 0.2  # of one population, before it is another's turn
MAX_REPEATS = 1000


def one_each(config: dict, dataset, hparams: dict) -> Population:
  """A run on every device, as small as a population can be.

  Args:
    config: A run's config as a nested dict.
    dataset: A `bn_jax.data.Dataset`.
    hparams: Dotted field -> number, of all members.
  """
  count = max(1, len(jax.devices()) // config['mesh']['data'])
  members = [{'seed': seed, 'hparams': hparams} for seed in range(count)]
  return Population(config, dataset, members)


def in_turns(
  populations: list[Population],
  rounds: int,
  clock: Callable[[], float] = time.perf_counter,
  progress: Callable = lambda: None,
) -> list[list[float]]:
  """Seconds per run-step of each population, a value per round.

  In each round every population takes its first steps again and again, for
  about `TURN_SECONDS`; every second round goes in the reverse order. A step of
  n members counts as n run-steps. Compilation is not timed.

  Args:
    populations: Of programs to be compared.
    rounds: How often each has its turn.
    clock: Returns seconds.
    progress: Called after each turn; the first, which compiles, counts.

  Returns:
    A list like `populations` of lists of `rounds` values.
  """
  repeats = []
  for population in populations:
    repeats.append(_repeats(population, clock))
    progress()
  found = [[] for _ in populations]
  for number in range(rounds):
    order = range(len(populations))
    for i in reversed(order) if number % 2 else order:
      found[i].append(_turn(populations[i], clock, repeats[i]))
      progress()
  return found


def _repeats(population, clock) -> int:
  """Chunks that make a turn; the same on every process, as they must be."""
  _chunk(population, clock)  # compiles
  count = math.ceil(TURN_SECONDS / max(_chunk(population, clock), 1e-9))
  return int(hosts.share(np.int32(min(count, MAX_REPEATS))))


def _turn(population, clock, repeats) -> float:
  spent = sum(_chunk(population, clock) for _ in range(repeats))
  steps = repeats * population.config['log']['every']
  return spent / (steps * len(population.members))


def _chunk(population, clock) -> float:
  """Always the same steps: a member that diverges would skip the next."""
  state = jax.block_until_ready(population.initialize())
  start = clock()
  jax.block_until_ready(
    population.train(state, 0, population.config['log']['every'])
  )
  return clock() - start
