"""A population that need not fit the devices: members in rounds, one by one.

Where all fit, the state stays on the devices. Where they do not, it lives in
the host's memory, and each operation brings a round of members in and out.
Members do not know of each other, so the results are the same.
"""

import jax
import numpy as np

from bn_jax import layout
from bn_jax.errors import UserError
from bn_jax.population import Population

# What XLA says, in the first words of its message, and nothing else says.
OUT_OF_MEMORY = 'RESOURCE_EXHAUSTED'


class Rounds:
  """What `Population` does, for any number of members.

  Attributes:
    members: All of them.
    size: How many there are in a round.
    sites: The model's sites, bottom-up.
  """

  def __init__(self, config: dict, dataset, members: list[dict], say=print):
    """Builds the program and decides on the rounds; nothing is compiled yet.

    Args:
      config: A run's config as a nested dict.
      dataset: A `bn_jax.data.Dataset`.
      members: As for `Population`.
      say: Called with a line where there is more than one round.

    Raises:
      UserError: If not even one member fits, or as `Population.check` does.
    """
    self.config, self.members, self._say = config, members, say
    self._dataset = dataset
    self._populations = [Population(config, dataset, members)]
    self.shapes = self._populations[0].check()
    self.sites = self._populations[0].sites
    self.slots = self._populations[0].layout.slots  # of `shapes`
    self._split(self._fitting())
    if self.size < len(members):
      say(
        f'{len(members)} members do not fit the memory of the devices; '
        f'{self.size} run at a time'
      )

  def _fitting(self) -> int:
    population = self._populations[0]
    slots, mesh = population.layout.slots, population.layout.mesh
    state = _bytes(self.shapes) // slots
    # Before and after a step; a step's gradient and update; its batches.
    each = 2 * state + 2 * (_bytes(self.shapes.params) // slots)
    each += population.batch_bytes()
    shared = population.data_bytes()
    limit = layout.memory_limit()
    return layout.members_at_a_time(
      len(self.members), mesh.shape['member'], each, shared, limit
    )

  def _split(self, size):
    self.size = size
    first = self.members[:size]
    if len(first) < len(self._populations[0].members):
      self._populations = None  # its data leave the devices first
      self._populations = [Population(self.config, self._dataset, first)]
    (population,) = self._populations[:1]
    self._populations = [
      population.with_members(self.members[i : i + size])
      for i in range(0, len(self.members), size)
    ]

  def _run(self, function, state=None):
    """Calls function(population, its part of the state) for each round.

    Returns:
      Its values, a list.
    """
    while True:
      try:
        return [
          function(population, self._part(population, state, number))
          for number, population in enumerate(self._populations)
        ]
      except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
          raise
      state = self._halve(state)

  def _halve(self, state):
    """Makes rounds half as large; returns the state as the host has it."""
    if self.size == 1:
      raise UserError(
        'memory: the device has not enough for one member; a smaller model or '
        'batch_size, or data.in_memory=False, takes less'
      )
    if state is not None and len(self._populations) == 1:
      state = self._populations[0].host(state)
    self._say(
      f'out of memory with {self.size} members at a time; '
      f'going on with {-(-self.size // 2)}'
    )
    self._split(-(-self.size // 2))
    return state

  def _part(self, population, state, number):
    if state is None or len(self._populations) == 1:
      return state
    start = number * self.size
    end = min(start + self.size, len(self.members))  # idle slots are no members
    return population.place(jax.tree.map(lambda x: x[start:end], state))

  def _join(self, states):
    """What the rounds returned, as one state: on the host unless there is 1."""
    if len(states) == 1:
      return states[0]
    return jax.tree.map(lambda *x: np.concatenate(x), *states)

  def initialize(self):
    """The state of every member before its first step."""
    return self._join(self._run(lambda p, _: self._keep(p, p.initialize())))

  def _keep(self, population, state):
    if len(self._populations) > 1:
      return population.host(state)
    return jax.block_until_ready(state)  # here, where lack of memory is caught

  def train(self, state, first_step: int, num_steps: int):
    """Takes `num_steps` steps with every member.

    Returns:
      The state, and metrics by name, NumPy arrays (members, rows).
    """

    def run(population, part):
      part, metrics = population.train(part, first_step, num_steps)
      metrics = population.fetch(metrics)  # waits
      return self._keep(population, part), metrics

    states, metrics = zip(*self._run(run, state), strict=True)
    return self._join(list(states)), _stack(metrics)

  def evaluate(self, state, split) -> dict[str, np.ndarray]:
    """Scores every member on a part of the data, (members,) each."""
    return _stack(self._run(lambda p, part: p.evaluate(part, split), state))

  def host(self, state):
    """The state of every member as NumPy arrays (members, ...)."""
    if len(self._populations) > 1:  # it may be of before memory ran out
      count = len(self.members)
      return jax.tree.map(lambda x: np.asarray(x)[:count], state)
    return self._populations[0].host(state)

  def place(self, state):
    """Takes back what `host` returned."""
    if len(self._populations) > 1:
      return state
    return self._populations[0].place(state)

  def like(self):
    """The shapes and dtypes of what `host` returns."""
    count = len(self.members)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype),
      self.shapes,
    )


def _stack(parts) -> dict[str, np.ndarray]:
  return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _bytes(shapes) -> int:
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
