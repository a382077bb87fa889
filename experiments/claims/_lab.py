"""What claims share: configs, tuning, runs with probes, seeds."""

import functools
import itertools
import json
import math
import pathlib

import jax
import numpy as np

from bn_jax import config as config_lib
from bn_jax import results, statistics, step, study, train
from bn_jax.data import batch_indices
from bn_jax.forward import Forward
from bn_jax.population import Population

CHANCE = 0.1
# Of the shared batches that probes look at; no member's own order has it.
PROBE_SEED = 20_000


class Lab:
  """A claim's place to work: its folder, its size, its way to train.

  Attributes:
    quick: Whether this is a smoke run.
    seeds: Those that are reported.
  """

  def __init__(self, folder, quick=False, tick=lambda label: None):
    """Names the folder; `tick(label)` is called whenever something is done."""
    self.folder, self.quick = pathlib.Path(folder), quick
    self.seeds = list(range(self.size(10, 2)))
    self.tick = tick

  def size(self, full, quick):
    """One of the two, by the size of the run."""
    return quick if self.quick else full

  def config(self, chained: str = 'none', **fields):
    """A run's config; fields by dotted name with `__` for the dot."""
    made = config_lib.default(chained)
    for field, value in fields.items():
      name = field.replace('__', '.')
      config_lib.value(made, name)
      made.update_from_flattened_dict({name: value})
    steps = made.num_train_steps
    made.log.every = math.gcd(steps, made.log.every)
    made.log.eval_every = math.gcd(
      steps, math.lcm(made.log.every, made.log.eval_every)
    )
    return made

  @functools.cached_property
  def dataset(self):
    """MNIST-1D, as every run of these claims has it."""
    return train.load(self.config().data)

  def fit(self, name: str, config, members: list[dict]):
    """Trains members, or reads what was trained: `results.load`'s table."""
    folder = self.folder / 'runs' / name
    ticking = lambda steps, taken=True: self.tick(name)  # noqa: E731
    train.fit(config, members, folder, progress=ticking)
    return results.load(folder)

  def tune(self, name: str, config, space: dict[str, list]) -> dict:
    """The point of a grid with the best accuracy on validation data.

    Args:
      name: Of the run.
      config: What is tuned.
      space: Dotted field -> values to try.

    Returns:
      The best point, by the mean over seeds that are not reported.
    """
    points, members = grid(space, self.size(2, 1))
    table = self.fit(f'tune-{name}', config, members)
    scores = accuracy(table).reshape(len(points), -1).mean(1)
    return points[int(np.argmax(scores))]

  def report(self, name: str, config, hparams: dict):
    """Trains the seeds that are reported with a choice of `tune`."""
    return self.fit(name, config, self.members(hparams))

  def members(self, hparams: dict) -> list[dict]:
    """A member for each seed that is reported."""
    return [{'seed': seed, 'hparams': hparams} for seed in self.seeds]

  def explore(self, config, members, probe, marks, batches, prepare=None):
    """Trains members and looks at them on the way.

    Args:
      config: Of the run.
      members: Of the population.
      probe: (program, state, batches) -> dict of arrays, traced.
      marks: Steps at which to look, ascending.
      batches: Shared by all members and marks, as `probe` likes them.
      prepare: (program, state, batches) -> state, before the first step.

    Returns:
      Arrays by name, (members, marks, ...).
    """
    config, found, at = config.to_dict(), [], 0
    chunk = math.gcd(*marks) or 1
    config['log'] |= {'every': chunk, 'sites': False}
    population = Population(config, self.dataset, members)
    state = population.initialize()
    if prepare is not None:
      state = population.probe(prepare)(state, batches)
    look = population.probe(probe)
    for mark in marks:
      while at < mark:
        state, _ = population.train(state, at, chunk)
        at += chunk
      found.append(jax.device_get(look(state, batches)))
      self.tick(f'probing at step {mark}')
    count = len(members)
    return jax.tree.map(lambda *x: np.stack(x, axis=1)[:count], *found)

  def batches(self, count: int, size: int = 100):
    """Training batches that all members share, (count, size, ...) each."""
    part = self.dataset.train
    index = batch_indices(PROBE_SEED, 0, count, size, len(part.label))
    return {'image': part.image[index], 'label': part.label[index]}

  def held_out(self, size: int = 1000):
    """Examples that no run trains or is tuned on."""
    part = self.dataset.test
    return {'image': part.image[:size], 'label': part.label[:size]}

  def model(self, config):
    """The model of a run, as a flax module."""
    classes = self.dataset.num_classes
    return step.assemble(config.to_dict(), {}, classes).model

  def evaluator(self, config):
    """(program, state, raw batch) -> Output with running statistics."""
    model, data = self.model(config), self.dataset

    def evaluate(program, state, batch):
      image = (batch['image'] - data.mean) / data.std
      forward = Forward(
        model, {'image': image}, program.sites, jax.random.key(0)
      )
      return forward(state.params, state.batch_stats, train=False)

    return evaluate

  def program(self, config) -> step.Program:
    """A run's functions, for claims that do without a population."""
    data = self.dataset
    spec = step.Spec(
      data.train.image.shape[1:], np.float32, data.num_classes, data.mean,
      data.std,
    )  # fmt: skip
    return step.build(config.to_dict(), spec)


def grid(space: dict[str, list], num_seeds: int):
  """The points of a grid, and a member for each point and tuning seed."""
  points = [
    dict(zip(space, values, strict=True))
    for values in itertools.product(*space.values())
  ]
  seeds = range(study.FIRST_TUNING_SEED, study.FIRST_TUNING_SEED + num_seeds)
  return points, [
    {'seed': seed, 'hparams': point} for point in points for seed in seeds
  ]


def rates(low: float, high: float, count: int) -> dict[str, list]:
  """Learning rates, log-uniform, as a grid's field."""
  values = [float(f'{v:.3g}') for v in np.geomspace(low, high, count)]
  return {'optimizer.learning_rate': values}


def accuracy(table, metric='validation/accuracy'):
  """Each member's last accuracy, chance for one that diverged, (members,)."""
  return statistics.finals(table, metric, chance=CHANCE).score.to_numpy()


def curves(table, metric: str):
  """Steps at which a metric was measured, and its values (members, steps)."""
  wide = table.pivot(index='member', columns='step', values=metric)
  wide = wide.dropna(axis=1, how='all')
  return wide.columns.to_numpy(), wide.to_numpy()


def steps_to(table, target: float):
  """Steps until validation accuracy reaches a target, inf if never."""
  found = statistics.steps_to(table, 'validation/accuracy', target)
  return found.steps.to_numpy()


def plain(value):
  """What JSON can hold of a measurement: floats with NaN as null."""
  return json.loads(json.dumps(value, default=_numpy), parse_constant=_nan)


def _numpy(value):
  return np.asarray(value).tolist()


def _nan(text):
  return None if text == 'NaN' else math.copysign(math.inf, float(text))
