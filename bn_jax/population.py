"""Many runs as one compiled program.

Members differ only in traced numbers: seed, learning rate and whatever else
`State.hparams` holds. They are spread over the `member` axis of a device mesh;
the other axis, `data`, splits each member's batch.
"""

import copy
import functools
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from bn_jax import config as config_lib
from bn_jax import feeding, hosts, scoring
from bn_jax import step as step_lib
from bn_jax.diagnostics import probes
from bn_jax.diagnostics.percentiles import LEVELS, of_unit
from bn_jax.errors import bounded
from bn_jax.layout import layout
from bn_jax.programs import Kept

_EACH = PartitionSpec('member')


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
    config_lib.check_numbers(config, members[0]['hparams'])
    self.config = config
    self.layout = layout(
      len(members), config['mesh']['data'], config['mesh']['group']
    )
    self._axis = 'data' if config['mesh']['data'] > 1 else None
    spec = step_lib.Spec(
      dataset.train.image_shape,
      dataset.train.image_dtype,
      *(dataset.num_classes, dataset.mean, dataset.std),
    )
    self._program = step_lib.build(config, spec, self._axis)
    numbers = dict.fromkeys(['seed', *members[0]['hparams']])
    self._about = f'{step_lib.about(config, spec, numbers)} {self.layout}'
    self.sites = self._program.sites
    self._feed = feeding.feed(config, dataset.train, self.layout)
    self._data = self._feed.data
    self._traced = None
    self._set_members(members)
    batch = PartitionSpec('member', None, None, 'data')
    parts, shared = PartitionSpec(None, 'data'), PartitionSpec()
    self._initialize = self._kept(
      self._initialize_one, _EACH, _EACH, batch, shared
    )
    self._train = self._kept(self._train_one, _EACH, batch, shared)
    self._evaluate = self._kept(self._evaluate_one, _EACH, parts)

  def _set_members(self, members):
    self.members = members
    fill = members + members[:1] * (self.layout.slots - len(members))
    self._seeds = np.array([m['seed'] for m in fill], np.uint32)
    self._feed = self._feed.with_seeds(self._seeds)
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

  def batch_bytes(self) -> int:
    """Bytes of batches that each device holds for every member of its own."""
    return self._feed.batch_bytes()

  def _put(self, tree, spec):
    return hosts.put(tree, NamedSharding(self.layout.mesh, spec))

  def place(self, state):
    """Lays out over the devices what `host` returned."""
    idle = self.layout.slots - len(self.members)

    def fill(x):
      return np.concatenate([x, np.repeat(x[:1], idle, axis=0)]) if idle else x

    return self._put(jax.tree.map(fill, state), _EACH)

  def host(self, state):
    """The state of the real members, as NumPy arrays (members, ...)."""
    count = len(self.members)
    return jax.tree.map(lambda x: x[:count], hosts.fetch(state, False))

  def _over_members(self, function, specs):
    """Maps a member's function, whose last argument all share."""
    group = self.layout.group

    def on_device(*args):
      own, shared = args[:-1], args[-1]
      one = lambda own: function(*own, shared)  # noqa: E731
      count = jax.tree.leaves(own)[0].shape[0]
      if count == 1:
        squeezed = jax.tree.map(lambda x: x[0], own)
        return jax.tree.map(lambda x: x[None], one(squeezed))
      if count == group:
        return jax.vmap(one)(own)
      return jax.lax.map(one, own, batch_size=group if group > 1 else None)

    return jax.shard_map(
      on_device,
      mesh=self.layout.mesh,
      in_specs=specs,
      out_specs=_EACH,
      check_vma=False,
    )

  def _kept(self, function, *specs):
    about = f'{function.__name__} {self._about}'
    return Kept(self._over_members(function, specs), about)

  def check(self):
    """Traces a chunk, so that what cannot be built is refused early.

    Returns:
      Shapes and dtypes of the state.

    Raises:
      UserError: Whatever the strategy or model finds wrong.
    """
    log = self.config['log']
    for site in self.sites if log['percentiles'] else ():
      bounded('log.unit', log['unit'], below=site.shape[-1])
    steps = min(log['eval_every'], self.config['num_train_steps'])
    rows, every = steps // log['every'], log['every']
    own = self._laid_out((self._seeds, self._hparams))
    first = (*own, self._feed.shapes(1, 1), self._data)
    state = jax.eval_shape(self._initialize.of(*first), *first)
    chunk = (self._laid_out(state), self._feed.shapes(rows, every), self._data)
    self._traced = self._train.of(*chunk).trace(*chunk)
    return state

  def _laid_out(self, tree, spec=_EACH):
    """Shapes as the devices will hold them: what was traced is not again."""
    sharding = NamedSharding(self.layout.mesh, spec)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )

  def initialize(self):
    """The state of every member before its first step.

    Meanwhile the first chunk is compiled, or loaded from the cache.
    """
    first = self._feed.first()
    own = self._put((self._seeds, self._hparams), _EACH)
    with futures.ThreadPoolExecutor(1) as thread:
      if self._traced is not None:
        thread.submit(lambda: self._traced.lower().compile())
      return self._initialize(*own, first, self._data)

  def _initialize_one(self, seed, hparams, batches, data):
    first = jax.tree.map(lambda x: x[0, 0], batches)
    batch = self._feed.take(data, first)
    return self._program.initialize(seed, hparams, batch)

  def train(self, state, first_step: int, num_steps: int):
    """Takes `num_steps` steps; one dispatch, unless the data stream.

    Returns:
      The state, and metrics by name, each (slots, rows) or, at sites,
      (slots, rows, sites).
    """
    curves = []
    for batches in self._feed.pieces(first_step, num_steps):
      hosts.wait(curves[-2:-1])  # two pieces are held, not more
      state, metrics = self._train(state, batches, self._data)
      curves.append(metrics)
    return state, _joined(curves)

  def _train_one(self, state, batches, data):
    def run(state):
      return jax.lax.scan(functools.partial(self._row, data), state, batches)

    if self.layout.group > 1:  # a batched condition would run both branches
      return run(state)
    run = jax.jit(run, inline=True)  # traced once, for both uses
    shapes = jax.eval_shape(run, state)[1]
    nothing = jax.tree.map(
      lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes
    )
    return jax.lax.cond(
      state.diverged_at >= 0, lambda s: (s, nothing), run, state
    )

  def _row(self, data, state, batches):
    """One row of the curves: the mean of the metrics over its steps."""

    def step(state, batch):
      batch = self._feed.take(data, batch)
      return self._program.train_step(state, batch)

    gone = state.diverged_at >= 0
    state, metrics = jax.lax.scan(step, state, batches)
    metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)
    log = self.config['log']
    if log['percentiles'] or log['probes']:
      last = jax.tree.map(lambda x: x[-1], batches)
      out = self._program.forward(state, self._feed.take(data, last))
      sites = out.sites.values()
      metrics |= self._percentiles(sites) if log['percentiles'] else {}
      metrics |= probes.answers(sites, log['probes'])
    # A member that diverged before is out.
    return state, jax.tree.map(lambda x: jnp.where(gone, jnp.nan, x), metrics)

  def _percentiles(self, sites):
    unit = self.config['log']['unit']
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
    asked = functools.partial(function, self._program)
    return jax.jit(self._over_members(asked, (_EACH, PartitionSpec())))

  def evaluate(self, state, split) -> dict[str, np.ndarray]:
    """Scores every member on a part of the data, with running statistics.

    Returns:
      `loss`, `accuracy` (members,) and `<site>/mean`, `<site>/var`,
      `<site>/distance` (members,); under `log.tensorboard` also
      `units/<site>/mean` and `units/<site>/var` (members, units).
    """
    sums = []
    for batches in self._feed.parts(split):
      hosts.wait(sums[-2:-1])
      sums.append(self._evaluate(state, batches))
    sums, at = hosts.fetch((sums, state.diverged_at))
    whole = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *sums)
    told = self.sites if self.config['log']['tensorboard'] else ()
    found = scoring.scores(whole, at >= 0, [site.path for site in told])
    return self._columns(found)

  def _evaluate_one(self, state, batches):
    step = functools.partial(self._program.eval_step, state)
    return jax.lax.map(step, batches)

  def fetch(self, metrics) -> dict[str, np.ndarray]:
    """Metrics as NumPy arrays of the real members, a column a site."""
    return self._columns(hosts.fetch(metrics))

  def _columns(self, metrics):
    columns = {}
    for name, values in metrics.items():
      values = values[: len(self.members)]
      if not name.startswith('site/'):
        columns[name] = values
        continue
      for i, site in enumerate(self.sites):
        columns[f'{site.path}/{name[5:]}'] = values[..., i]
    return columns


def _joined(pieces):
  """What pieces gave, as one: (slots, rows, ...)."""
  if len(pieces) == 1:
    return pieces[0]
  return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *pieces)
