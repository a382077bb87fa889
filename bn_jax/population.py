"""Many runs as one compiled program.

Members differ only in traced numbers: seed, learning rate and whatever else
`State.hparams` holds. They are spread over the `member` axis of a device mesh;
the other axis, `data`, splits each member's batch.
"""

import copy
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from bn_jax import hosts
from bn_jax import step as step_lib
from bn_jax.data import batch_indices, eval_batches
from bn_jax.diagnostics.normality import distance
from bn_jax.diagnostics.percentiles import LEVELS, of_unit
from bn_jax.errors import bounded
from bn_jax.layout import layout

EVAL_BATCH = 1000


class Population:
  """A run's program for a list of members, laid out over the devices.

  Attributes:
    layout: How members map to devices.
    sites: The model's sites, bottom-up.
  """

  def __init__(self, config: dict, dataset, members: list[dict]):
    """Builds the program; nothing is compiled yet.

    Args:
      config: A run's config as a nested dict.
      dataset: A `bn_jax.data.Dataset`.
      members: A dict each, with `seed` and `hparams` (dotted field -> number);
        all with the same fields.
    """
    self.config = config
    self.layout = layout(
      len(members), config['mesh']['data'], config['mesh']['group']
    )
    self._axis = 'data' if config['mesh']['data'] > 1 else None
    spec = step_lib.Spec(
      dataset.train.image.shape[1:],
      dataset.train.image.dtype,
      dataset.num_classes,
      dataset.mean,
      dataset.std,
    )
    self._program = step_lib.build(config, spec, self._axis)
    self.sites = self._program.sites
    self._num_train = len(dataset.train.label)
    self._data = self._put(dataset.train._asdict(), PartitionSpec())
    self._set_members(members)
    batch = PartitionSpec('member', None, None, 'data')
    each, shared = PartitionSpec('member'), PartitionSpec()
    self._initialize = self._over_members(
      self._initialize_one, (each, each, batch, shared)
    )
    self._train = self._over_members(self._train_one, (each, batch, shared))
    self._evaluate = self._over_members(
      self._evaluate_one, (each, PartitionSpec(None, 'data')), num_shared=1
    )

  def _set_members(self, members):
    self.members = members
    fill = members + members[:1] * (self.layout.slots - len(members))
    self._seeds = np.array([m['seed'] for m in fill], np.uint32)
    fields = members[0]['hparams']
    self._hparams = {
      f: np.array([m['hparams'][f] for m in fill], np.float32) for f in fields
    }

  def with_members(self, members: list[dict]) -> 'Population':
    """The same compiled program for other members, not more than now."""
    other = copy.copy(self)
    other._set_members(members)
    return other

  def data_bytes(self) -> int:
    """Bytes that each device holds of the data."""
    return sum(x.nbytes for x in jax.tree.leaves(self._data))

  def _put(self, tree, spec):
    return hosts.put(tree, NamedSharding(self.layout.mesh, spec))

  def place(self, state):
    """Lays out over the devices what `host` returned."""
    idle = self.layout.slots - len(self.members)

    def fill(x):
      return np.concatenate([x, np.repeat(x[:1], idle, axis=0)]) if idle else x

    return self._put(jax.tree.map(fill, state), PartitionSpec('member'))

  def host(self, state):
    """The state of the real members, as NumPy arrays (members, ...)."""
    count = len(self.members)
    return jax.tree.map(lambda x: x[:count], hosts.fetch(state, False))

  def _over_members(self, function, specs, num_shared=1):
    """Maps a member's function over the population, as one jitted program."""
    group = self.layout.group

    def on_device(*args):
      own, shared = args[: len(args) - num_shared], args[-num_shared:]
      one = lambda own: function(*own, *shared)  # noqa: E731
      count = jax.tree.leaves(own)[0].shape[0]
      if count == 1:
        squeezed = jax.tree.map(lambda x: x[0], own)
        return jax.tree.map(lambda x: x[None], one(squeezed))
      if count == group:
        return jax.vmap(one)(own)
      return jax.lax.map(one, own, batch_size=group if group > 1 else None)

    mapped = jax.shard_map(
      on_device,
      mesh=self.layout.mesh,
      in_specs=specs,
      out_specs=PartitionSpec('member'),
      check_vma=False,
    )
    return jax.jit(mapped)

  def _indices(self, first_step: int, num_steps: int):
    """Which examples each member sees, (slots, rows, every, batch) int32."""
    every = self.config['log']['every']
    batch = self.config['batch_size']
    shape = (num_steps // every, every, batch)
    orders = {
      seed: batch_indices(
        int(seed), first_step, num_steps, batch, self._num_train
      ).reshape(shape)
      for seed in set(self._seeds.tolist())
    }
    rows = np.stack([orders[seed] for seed in self._seeds.tolist()])
    return self._put(rows, PartitionSpec('member', None, None, 'data'))

  def check(self):
    """Traces a chunk, so that what cannot be built is refused early.

    Returns:
      The shapes and dtypes of the state.

    Raises:
      UserError: Whatever the strategy or model finds wrong.
    """
    log = self.config['log']
    if log['percentiles']:
      for site in self.sites:
        bounded('log.unit', log['unit'], below=site.shape[-1])
    shape = (self.layout.slots, 1, 1, self.config['batch_size'])
    first = jax.ShapeDtypeStruct(shape, np.int32)
    args = (self._seeds, self._hparams, first, self._data)
    state = jax.eval_shape(self._initialize, *args)
    rows, every = log['eval_every'] // log['every'], log['every']
    indices = jax.ShapeDtypeStruct((shape[0], rows, every, shape[3]), np.int32)
    jax.eval_shape(self._train, state, indices, self._data)
    return state

  def initialize(self):
    """The state of every member before its first step."""
    every = self.config['log']['every']
    first = self._indices(0, every)[:, :, :1]
    own = self._put((self._seeds, self._hparams), PartitionSpec('member'))
    return self._initialize(*own, first, self._data)

  def _initialize_one(self, seed, hparams, indices, data):
    return self._program.initialize(seed, hparams, take(data, indices[0, 0]))

  def train(self, state, first_step: int, num_steps: int):
    """Takes `num_steps` steps; one dispatch, nothing crosses to the host.

    Returns:
      The state, and metrics by name, each (slots, rows) or, at sites,
      (slots, rows, sites).
    """
    return self._train(state, self._indices(first_step, num_steps), self._data)

  def _train_one(self, state, indices, data):
    def run(state):
      return jax.lax.scan(functools.partial(self._row, data), state, indices)

    if self.layout.group > 1:  # a batched condition would run both branches
      return run(state)
    shapes = jax.eval_shape(run, state)[1]
    nothing = jax.tree.map(
      lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes
    )
    return jax.lax.cond(
      state.diverged_at >= 0, lambda s: (s, nothing), run, state
    )

  def _row(self, data, state, indices):
    """One row of the curves: the mean of the metrics over its steps."""

    def step(state, index):
      return self._program.train_step(state, take(data, index))

    gone = state.diverged_at >= 0
    state, metrics = jax.lax.scan(step, state, indices)
    metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)
    if self.config['log']['percentiles']:
      metrics |= self._percentiles(state, take(data, indices[-1]))
    return state, _nothing_if(gone, metrics)

  def _percentiles(self, state, batch):
    out = self._program.forward(state, batch)
    unit = self.config['log']['unit']
    sites = out.sites.values()
    levels = jnp.stack([of_unit(values, unit) for values in sites], axis=-1)
    moments = [values.moments('output') for values in sites]
    return {f'site/p{p}': levels[i] for i, p in enumerate(LEVELS)} | {
      'site/unit_mean': jnp.stack([m.mean[unit] for m in moments]),
      'site/unit_var': jnp.stack([m.var[unit] for m in moments]),
    }

  def probe(self, function):
    """Maps a question over the members, as one program.

    Args:
      function: (step.Program, State, data) -> a tree of arrays, or a State.

    Returns:
      (states, data) -> what `function` returns with the members in front,
      idle ones included; every member sees the same `data`.
    """
    specs = (PartitionSpec('member'), PartitionSpec())
    return self._over_members(functools.partial(function, self._program), specs)

  def evaluate(self, state, split) -> dict[str, np.ndarray]:
    """Scores every member on a part of the data, with running statistics.

    Returns:
      `loss`, `accuracy` (members,) and `<site>/mean`, `<site>/var`,
      `<site>/distance` (members,); under `log.tensorboard` also
      `units/<site>/mean` and `units/<site>/var` (members, units).
    """
    scores = self._evaluate(state, self.eval_data(split))
    return self.fetch(scores)

  def eval_data(self, split):
    """A part cut into padded batches, on the devices."""
    data = self.config['mesh']['data']
    size = min(EVAL_BATCH, len(split.label))
    batches = eval_batches(split, math.ceil(size / data) * data)
    return self._put(batches, PartitionSpec(None, 'data'))

  def _evaluate_one(self, state, batches):
    step = functools.partial(self._program.eval_step, state)
    sums = jax.lax.map(step, batches)
    total = jnp.sum(sums['count'])
    scores = {
      'loss': jnp.sum(sums['loss']) / total,
      'accuracy': jnp.sum(sums['correct']) / total,
    }
    merged = [merge(m) for m in sums['moments']]
    if merged:
      scores['site/mean'] = jnp.stack([jnp.mean(m) for m, _ in merged])
      scores['site/var'] = jnp.stack([jnp.mean(v) for _, v in merged])
      scores['site/distance'] = jnp.stack([distance(m, v) for m, v in merged])
    if self.config['log']['tensorboard']:
      for site, (mean, var) in zip(self.sites, merged, strict=False):
        scores |= {f'units/{site.path}/mean': mean}
        scores |= {f'units/{site.path}/var': var}
    return _nothing_if(state.diverged_at >= 0, scores)

  def fetch(self, metrics) -> dict[str, np.ndarray]:
    """Metrics as NumPy arrays of the real members, a column a site."""
    metrics = hosts.fetch(metrics)
    columns = {}
    for name, values in metrics.items():
      values = values[: len(self.members)]
      if not name.startswith('site/'):
        columns[name] = values
        continue
      for i, site in enumerate(self.sites):
        columns[f'{site.path}/{name[5:]}'] = values[..., i]
    return columns


def take(data: dict[str, Any], index) -> dict[str, Any]:
  """The examples at `index`, of each array."""
  return jax.tree.map(lambda x: x[index], data)


def _nothing_if(gone, metrics):
  """Metrics, or NaN for a member that diverged before: it is out."""
  return jax.tree.map(lambda x: jnp.where(gone, jnp.nan, x), metrics)


def merge(moments):
  """Mean and variance over batches from each batch's own, (units,) each."""
  weight = moments.count / jnp.sum(moments.count, axis=0)
  mean = jnp.sum(weight * moments.mean, axis=0)
  spread = moments.var + (moments.mean - mean) ** 2
  return mean, jnp.sum(weight * spread, axis=0)
