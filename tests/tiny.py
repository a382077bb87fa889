"""Runs that are small enough to compile in a second."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from bn_jax import config as config_lib
from bn_jax import step, strategies
from bn_jax.data import Dataset, Split
from bn_jax.forward import Forward
from bn_jax.layers.site import survey
from bn_jax.population import Population

BATCH = 16
CLASSES = 3
# Strategies that meet in more than one place of action.
CHAINS = (
  ('batch_norm', 'adaptive_grad_clip'),
  ('lsuv', 'activation_penalty'),
  ('batch_norm', 'activation_penalty'),
  ('lsuv', 'renormalize', 'adaptive_grad_clip'),
)
# Every strategy of the folder: a new file is under test with no edit here.
CASES = [*((name,) for name in strategies.names()), *CHAINS]
each_case = {'argnames': 'chained', 'argvalues': CASES, 'ids': '+'.join}


def split(count, seed):
  """Three clouds in 6 dimensions, in raw units far from standardized."""
  random = np.random.default_rng(seed)
  label = random.integers(0, CLASSES, count).astype(np.int32)
  centers = np.random.default_rng(0).normal(size=(CLASSES, 6))
  image = centers[label] + 0.5 * random.normal(size=(count, 6))
  return Split((20 + 5 * image).astype(np.float32), label)


def dataset():
  train = split(96, 1)
  mean = train.image.mean(keepdims=True)[0]
  std = train.image.std(keepdims=True)[0]
  return Dataset(
    'clouds', train, split(40, 2), split(24, 3), CLASSES, mean, std, ('abc',)
  )


def config(chained=('none',), model='mlp', **fields):
  """A run's ConfigDict; fields by dotted name, with `__` for the dot."""
  made = config_lib.default('+'.join(chained), model)
  small = {
    'num_train_steps': 20,
    'batch_size': BATCH,
    'model.depth': 2,
    'model.width': 8,
    'log.every': 5,
    'log.eval_every': 10,
  }
  if model == 'mlp':
    small['model.activation'] = 'tanh'
  given = {k.replace('__', '.'): v for k, v in fields.items()}
  for field, value in (small | given).items():
    config_lib.value(made, field)  # a typo here is an error
    made.update_from_flattened_dict({field: value})
  return made


def batch(number=0, size=BATCH):
  """A fixed batch, raw."""
  return split(size, 10 + number)._asdict()


class Net(NamedTuple):
  """A model and its strategy on a batch, below the step."""

  strategy: strategies.Strategy
  forward: Forward
  state: step.State
  image: np.ndarray
  """Standardized, in float64."""


def net(chained, batch_=None, model='mlp', **fields) -> Net:
  """A network whose scales and biases are not 1 and 0, which would hide."""
  made = config(chained, model, **fields).to_dict()
  parts = step.assemble(made, {}, CLASSES)
  given = dict(batch() if batch_ is None else batch_)
  given['image'] = (given['image'] - spec().mean) / spec().std
  sites = survey(parts.model, given['image'])
  forward = Forward(parts.model, given, sites, jax.random.key(0))

  @jax.jit
  def initialize():
    return parts.model.init(jax.random.key(1), given['image'], train=False)

  variables = initialize()
  random = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: np.float32(x + 0.3 * random.normal(size=x.shape)),
    variables['params'],
  )
  none = np.int32(-1)
  stats = variables.get('batch_stats', {})
  state = step.State(np.int32(1), params, stats, (), {}, 0, none, none)
  return Net(parts.strategy, forward, state, np.float64(given['image']))


class Run(NamedTuple):
  """A program of one run, jitted."""

  config: dict
  program: step.Program
  initialize: object
  train_step: object
  eval_step: object
  forward: object


def run(chained=('none',), **fields) -> Run:
  """A run's functions; the same arguments give the same compiled programs."""
  return _run(tuple(chained), tuple(sorted(fields.items())))


@functools.cache
def _run(chained, fields):
  made = config(chained, **dict(fields)).to_dict()
  program = step.build(made, spec())
  jitted = (
    jax.jit(f)
    for f in (
      program.initialize,
      program.train_step,
      program.eval_step,
      program.forward,
    )
  )
  return Run(made, program, *jitted)


def spec():
  data = dataset()
  return step.Spec((6,), np.float32, CLASSES, data.mean, data.std)


def start(run, seed=0, hparams=None, batch_=None):
  return run.initialize(
    np.uint32(seed), hparams or {}, batch() if batch_ is None else batch_
  )


def population(chained, members, data=None, **fields):
  made = config(chained, **fields).to_dict()
  return Population(made, data or dataset(), members)


def member(seed=0, **hparams):
  return {
    'seed': seed,
    'hparams': {k.replace('__', '.'): v for k, v in hparams.items()},
  }


def mlp(params, x, at_site=lambda i, h: h):
  """The network of `config` in NumPy; `at_site` acts on what arrives."""
  for i in range(2):
    layer = params[f'dense_{i}']
    x = at_site(i, x @ np.float64(layer['kernel']) + layer.get('bias', 0))
    for norm in params.get(f'site_{i}', {}).values():
      x = x * norm['scale'] + norm['bias']
    x = np.tanh(x)
  return x @ np.float64(params['head']['kernel']) + params['head']['bias']


def arriving(params, image, at_site=lambda i, h: h):
  """What arrives at each site."""
  seen = []
  mlp(params, image, lambda i, h: at_site(i, seen.append(h) or h))
  return seen


def apply(net, params=None, batch_stats=None, train=True):
  """The network's `Output`."""
  given = (net.state.params, net.state.batch_stats)
  params = given[0] if params is None else params
  batch_stats = given[1] if batch_stats is None else batch_stats
  forward = jax.jit(lambda *args: net.forward(*args, train=train))
  return forward(params, batch_stats)


def edited(net, state=None):
  """The state after the strategy's post_step, without an optimizer's."""
  post_step = jax.jit(lambda s: net.strategy.post_step(s, net.forward))
  return post_step(net.state if state is None else state)


def initialized(net, variables=None):
  """The variables after the strategy's own initialization rule."""
  given = {'params': net.state.params, 'batch_stats': net.state.batch_stats}
  initialize = jax.jit(lambda v: net.strategy.initialize(v, net.forward))
  return initialize(given if variables is None else variables)


def options(strategy, **arguments):
  """Arguments of a strategy by their dotted names."""
  return {f'strategy.{strategy}.{k}': v for k, v in arguments.items()}


def assert_normalized(sites, which='input'):
  for values in sites.values():
    moments = values.moments(which)
    np.testing.assert_allclose(moments.mean, 0, atol=1e-5)
    np.testing.assert_allclose(moments.var, 1, rtol=1e-3)


def walk(run, steps=3):
  """The state after some steps, each on a batch of its own."""
  state = start(run)
  for number in range(steps):
    state, _ = run.train_step(state, batch(number))
  return state


def leaves(tree):
  return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_trees_equal(found, wanted):
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for a, b in zip(leaves(found), leaves(wanted), strict=True):
    np.testing.assert_array_equal(a, b)


def assert_trees_close(found, wanted, rtol=1e-4, atol=1e-5):
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for a, b in zip(leaves(found), leaves(wanted), strict=True):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


class StoppedError(Exception):
  """Stands for whatever ends a process."""


def stop_at(step):
  """A `progress` that ends a run at a step."""
  done = []

  def progress(steps, taken=True):
    done.append(steps)
    if sum(done) >= step:
      raise StoppedError

  return progress


class Steps(list):
  """A `progress` that keeps what it is told: steps, and whether taken now."""

  def __call__(self, steps, taken=True):
    self.append((steps, taken))
