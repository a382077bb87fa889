"""One run as pure functions: initialize, a training step, an evaluation.

No I/O and nothing that depends on where it runs: the functions work under
`jit`, `vmap`, `scan` and, with `axis_name`, on a batch that is split over the
devices of a mesh.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from bn_jax import config as config_lib
from bn_jax import models, optimizers, strategies
from bn_jax.data.augment import crop_and_flip_batch
from bn_jax.diagnostics.normality import distance
from bn_jax.forward import Forward, Output
from bn_jax.layers.layers import Layers
from bn_jax.layers.site import SiteInfo, survey
from bn_jax.losses import correct, count_of, cross_entropy, undone
from bn_jax.strategies.base import Strategy, no_edit, no_penalty


class State(struct.PyTreeNode):
  """All that a run carries from step to step."""

  step: jax.Array
  """How many steps were taken, int32."""
  params: Any
  batch_stats: Any
  opt_state: Any
  """Of the strategy's `gradient`, then of the optimizer."""
  hparams: dict[str, jax.Array]
  """The numbers that may differ between members, by dotted field."""
  seed: jax.Array
  diverged_at: jax.Array
  """The first step whose loss was not finite; -1 if there was none."""
  diverged_site: jax.Array
  """The lowest site that was not finite then; -1 if none was."""


class Spec(NamedTuple):
  """What a run must know of its data to be built."""

  shape: tuple[int, ...]
  """Of one example."""
  dtype: Any
  num_classes: int
  mean: Any
  """Per channel, in raw units, for the standardization in the step."""
  std: Any


class Parts(NamedTuple):
  """What a run is made of once its numbers are known."""

  model: nn.Module
  strategy: Strategy
  optimizer: optax.GradientTransformation


def assemble(
  config: dict, hparams: dict, num_classes: int, axis_name: str | None = None
) -> Parts:
  """Builds model, strategy and optimizer; `hparams` may be traced."""
  config = config_lib.replace(config, hparams)
  strategy = strategies.build(tuple(config['strategies']), config['strategy'])
  options = {k: v for k, v in config['model'].items() if k != 'name'}
  scope = axis_name if config['mesh']['statistics'] == 'global' else None
  dtype = None if config['dtype'] == 'float32' else jnp.dtype(config['dtype'])
  layers = strategy.layers(Layers(dtype=dtype, axis_name=scope))
  model = models.build(config['model']['name'], options, layers, num_classes)
  rule = optimizers.build(config['optimizer'], config['num_train_steps'])
  return Parts(model, strategy, optax.chain(strategy.gradient, rule))


class Program(NamedTuple):
  """A run's functions, for any number of members."""

  initialize: Any
  """(seed, hparams, batch) -> State"""
  train_step: Any
  """(State, batch) -> (State, metrics)"""
  eval_step: Any
  """(State, batch) -> sums over the batch's examples"""
  forward: Any
  """(State, batch) -> Output, as the next training step would see it"""
  sites: tuple[SiteInfo, ...]


def build(config: dict, spec: Spec, axis_name: str | None = None) -> Program:
  """The functions of a run.

  Args:
    config: As of `bn_jax.config.default`, as a plain nested dict.
    spec: Of the data.
    axis_name: The mapped axis over which each batch is split, if it is. The
      functions then return the same on every device.
  """
  parts = assemble(config, {}, spec.num_classes)
  example = jax.ShapeDtypeStruct((2, *spec.shape), jnp.float32)
  sites = survey(parts.model, example)
  run = _Run(config, spec, axis_name, sites)
  return Program(
    run.initialize, run.train_step, run.eval_step, run.forward, sites
  )


def about(config: dict, spec: Spec, numbers: dict) -> str:
  """All that a program is made of, but for its code, in words.

  Args:
    config: As for `build`.
    spec: Of the data.
    numbers: Dotted fields that are traced, or not read, with a value for all.
  """
  statistics = [np.asarray(x).tobytes() for x in (spec.mean, spec.std)]
  return repr([config_lib.replace(config, numbers), spec[:3], statistics])


class _Run:
  """What the functions of a program share: all of it static."""

  def __init__(self, config, spec, axis_name, sites):
    self.config, self.spec = config, spec
    self.axis_name, self.sites = axis_name, sites

  def _parts(self, hparams) -> Parts:
    return assemble(self.config, hparams, self.spec.num_classes, self.axis_name)

  def _augmented(self, state, batch):
    """The batch as this step sees it: drawn from (seed, step, position)."""
    if self.config['augment'] == 'none':
      return batch
    size = batch['label'].shape[0]
    first = 0 if self.axis_name is None else jax.lax.axis_index(self.axis_name)
    image = crop_and_flip_batch(
      # Not the key that parameters and strategies draw from.
      jax.random.split(jax.random.key(state.seed))[1],
      state.step,
      batch['image'],
      first * size + jnp.arange(size),
    )
    return {**batch, 'image': image}

  def _standardize(self, batch):
    image = batch['image'].astype(jnp.float32)
    return {**batch, 'image': (image - self.spec.mean) / self.spec.std}

  def _sum(self, x):
    return x if self.axis_name is None else jax.lax.psum(x, self.axis_name)

  def _mean(self, batch_stats, batch):
    """Makes statistics that each device took of its own part the same.

    A part weighs by how many of its examples count.
    """
    if self.axis_name is None:
      return batch_stats
    count, parts = count_of(batch), self._sum(1)
    total = self._sum(count)
    share = jnp.where(total > 0, count / jnp.maximum(total, 1), 1 / parts)
    return jax.tree.map(
      lambda x: self._sum((share * x).astype(x.dtype)), batch_stats
    )

  def _forward(self, parts, batch, seed, step):
    key = jax.random.fold_in(jax.random.key(seed), step)
    return Forward(parts.model, batch, self.sites, key, self.axis_name)

  def initialize(self, seed, hparams, batch) -> State:
    """The state before the first step; `batch` is for rules that look at it."""
    parts, batch = self._parts(hparams), self._standardize(batch)
    key = jax.random.key(seed)
    variables = parts.model.init(key, batch['image'][:1], train=False)
    variables = {k: v for k, v in variables.items() if k != 'intermediates'}
    forward = self._forward(parts, batch, seed, 0)
    variables = parts.strategy.initialize(variables, forward)
    return State(
      step=jnp.zeros((), jnp.int32),
      params=variables['params'],
      batch_stats=variables.get('batch_stats', {}),
      opt_state=parts.optimizer.init(variables['params']),
      hparams=hparams,
      seed=jnp.asarray(seed, jnp.uint32),
      diverged_at=jnp.full((), -1, jnp.int32),
      diverged_site=jnp.full((), -1, jnp.int32),
    )

  def train_step(self, state: State, batch):
    """One step of the optimizer and of the strategy.

    Args:
      state: As `initialize` or this returned it.
      batch: `image` (batch, ...) raw, `label` (batch,), and `mask` (batch,)
        where some examples are padding.

    Returns:
      The next state, and metrics: scalars by name, and (sites,) arrays.
    """
    parts = self._parts(state.hparams)
    batch = self._standardize(self._augmented(state, batch))
    forward = self._forward(parts, batch, state.seed, state.step)
    # A batch that is masked out whole has no loss, rather than 0 / 0.
    count = jnp.maximum(self._sum(count_of(batch)), 1)

    def objective(params):
      out = forward(params, state.batch_stats)
      loss = jnp.sum(cross_entropy(out.logits, batch)) / count
      # Each device holds the whole penalty and an equal share of it.
      share = parts.strategy.penalty(params, out.sites) / self._sum(1)
      return loss + share, (loss, share, out)

    grads, (loss, share, out) = jax.grad(objective, has_aux=True)(state.params)
    grads = self._sum(grads)
    loss, penalty = self._sum((loss, share))
    hits = self._sum(jnp.sum(correct(out.logits, batch)))
    metrics = {'train/loss': loss, 'train/accuracy': hits / count}
    if parts.strategy.penalty is not no_penalty:
      metrics['train/penalty'] = penalty
    metrics |= self._site_metrics(out)

    updates, opt_state = parts.optimizer.update(
      grads, state.opt_state, state.params
    )
    stepped = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      batch_stats=self._mean(out.batch_stats, batch),
      opt_state=opt_state,
    )
    new = parts.strategy.post_step(stepped, forward)
    if parts.strategy.post_step is not no_edit:
      metrics['train/undone'] = undone(updates, stepped.params, new.params)
    return _mark_divergence(new, loss + penalty, metrics), metrics

  def _site_metrics(self, out: Output):
    if not self.config['log']['sites'] or not out.sites:
      return {}
    found = [values.moments() for values in out.sites.values()]
    return {
      'site/mean': jnp.stack([jnp.mean(m.mean) for m in found]),
      'site/var': jnp.stack([jnp.mean(m.var) for m in found]),
      'site/distance': jnp.stack([distance(m.mean, m.var) for m in found]),
    }

  def forward(self, state: State, batch) -> Output:
    """The forward pass of a training step, for probes."""
    parts = self._parts(state.hparams)
    batch = self._standardize(self._augmented(state, batch))
    forward = self._forward(parts, batch, state.seed, state.step)
    return forward(state.params, state.batch_stats)

  def eval_step(self, state: State, batch):
    """Scores a batch with the running statistics.

    Returns:
      `count`, `loss` and `correct`, summed over the batch's examples, and
      `moments`: each site's `Moments` on this batch.
    """
    parts, batch = self._parts(state.hparams), self._standardize(batch)
    forward = self._forward(parts, batch, state.seed, state.step)
    out = forward(state.params, state.batch_stats, train=False)
    sums = {
      'count': count_of(batch),
      'loss': jnp.sum(cross_entropy(out.logits, batch)),
      'correct': jnp.sum(correct(out.logits, batch)),
    }
    moments = [values.moments() for values in out.sites.values()]
    return {**self._sum(sums), 'moments': moments}


def _mark_divergence(state: State, loss, metrics):
  """Notes the first step whose loss is not finite, and the lowest bad site."""
  first = ~jnp.isfinite(loss) & (state.diverged_at < 0)
  at = jnp.where(first, state.step - 1, state.diverged_at)
  state = state.replace(diverged_at=at)
  if 'site/var' not in metrics:
    return state
  bad = ~jnp.isfinite(metrics['site/mean'] + metrics['site/var'])
  site = jnp.where(jnp.any(bad), jnp.argmax(bad), -1)
  return state.replace(
    diverged_site=jnp.where(first, site, state.diverged_site)
  )
