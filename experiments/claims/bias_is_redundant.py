"""A bias right before batch normalization does nothing: its gradient is 0, and
dropping it changes neither the function nor the course of training.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1; Ioffe &
Szegedy 2015 (arXiv 1502.03167), section 3.2.

Measured in float64 on a sigmoid network of 3 x 24 units and MNIST-1D: two
networks with the same initial kernels, one with the biases and one without,
take 300 steps of gradient descent (learning rate 0.5) on the same batches of
100. The gradient of the biases relative to that of their kernel, the largest
over layers and steps; the change of the logits when biases drawn from N(0, 1)
are put in, relative to the logits; the largest difference between the two
loss curves. Then with the gradient stopped through the mean: the gradient of
the biases, and the difference between the networks when they are evaluated
with running statistics, on 400 validation examples.

Criterion: rounding (below 1e-10 for gradient and function, below 1e-7 for the
curves, where rounding grows along training; every seed). Under the stopped
gradient the biases' relative gradient is above 0.01 and the evaluated losses
differ by more than 0.001 nats. (A batch's own mean still takes the bias away,
so the training loss cannot differ; only the running mean, which lags behind
a bias that moves, can.)
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax import trees
from bn_jax.criteria import EVERY, Criterion
from experiments.claims import _double, _draw

CRITERIA = (
  Criterion('gradient', "biases' relative gradient", '<', 1e-10, 10, EVERY),
  Criterion('function', 'relative change of logits', '<', 1e-10, 10, EVERY),
  Criterion('curve', 'difference of losses (nats)', '<', 1e-7, 10, EVERY),
  Criterion('stopped_gradient', 'the same gradient, stopped', '>', 0.01),
  Criterion(
    'stopped_evaluation', 'evaluated losses differ, stopped (nats)', '>', 0.001
  ),
)
SECONDS = 30
RATE = 0.5


def measure(lab, full: str = 'none'):
  """Trains both networks of each seed; `full` stands for no stop at all."""
  steps = lab.size(300, 30)
  with _double.float64():
    exact, stopped = (
      [_pair(train, lab, seed, steps) for seed in lab.seeds]
      for train in (_trainer(full), _trainer('mean'))
    )
  worst = np.max([r['difference'] for r in stopped])
  return {
    'values': {
      'gradient': [r['gradient'] for r in exact],
      'function': [r['function'] for r in exact],
      'curve': [np.max(r['difference']) for r in exact],
      'stopped_gradient': [r['gradient'] for r in stopped],
      'stopped_evaluation': [r['evaluation'] for r in stopped],
    },
    'figure': {
      kind: {k: found[0][k] for k in ('difference', 'bias')}
      for kind, found in (('exact', exact), ('stopped', stopped))
    },
    'numbers': {'stopped: training losses differ by (nats)': worst},
    'settings': {'learning rate': RATE, 'steps': steps},
  }


def _trainer(stop):
  """keep_bias, ... -> a jitted function that trains and evaluates."""

  @functools.partial(jax.jit, static_argnums=0)
  def train(keep_bias, seed, batches, held_out):
    model = _double.build(
      'batch_norm', {'stop_gradient': stop}, keep_bias=keep_bias, depth=3,
      width=24,
    )  # fmt: skip
    first = jax.tree.map(lambda x: x[0], batches)
    params, stats = _double.start(model, seed, first['image'])
    _, (logits, _) = _double.loss(model, _with_biases(params), stats, first)
    params, stats, losses, (gradient, bias) = _double.descend(
      model, RATE, params, stats, batches, _biases
    )
    held = _double.loss(model, params, stats, held_out, train=False)[0]
    return logits, losses, jnp.max(gradient), bias, held

  return train


def _hidden(params):
  return [k for k in params if k.startswith('dense') and 'bias' in params[k]]


def _with_biases(params):
  """Numbers of size 1 in the hidden layers' biases, where there are any."""
  for name in _hidden(params):
    bias = jax.random.normal(jax.random.key(1), params[name]['bias'].shape)
    params = trees.update(params, name, bias=bias)
  return params


def _biases(params, grads):
  """The biases' gradient relative to their kernels', and their length."""
  hidden, norm = _hidden(grads), jnp.linalg.norm
  if not hidden:
    return jnp.zeros(()), jnp.zeros(())
  ratios = [norm(grads[k]['bias']) / norm(grads[k]['kernel']) for k in hidden]
  lengths = [norm(params[k]['bias']) for k in hidden]
  return jnp.max(jnp.stack(ratios)), jnp.max(jnp.stack(lengths))


def _pair(train, lab, seed, steps):
  batches = _double.batches(lab.dataset, seed, steps)
  held_out = _double.examples(lab.dataset, lab.dataset.validation)
  kept, dropped = (
    _double.numbers(train(keep, seed, batches, held_out))
    for keep in (True, False)
  )
  norm = np.linalg.norm
  return {
    'function': norm(kept[0] - dropped[0]) / norm(dropped[0]),
    'difference': np.maximum.accumulate(np.abs(kept[1] - dropped[1])),
    'gradient': kept[2],
    'bias': kept[3],
    'evaluation': abs(kept[4] - dropped[4]),
  }


def figure(measured):
  """The two curves' difference, and the biases' length, by step."""
  fig, (axes,) = _draw.panels()
  for kind, color, mark, name in (
    ('exact', _draw.BLUE, '-', 'full gradient'),
    ('stopped', _draw.ORANGE, '--', 'stopped through the mean'),
  ):
    shown = measured['figure'][kind]
    for ax, key in zip(axes, ('difference', 'bias'), strict=True):
      y = np.maximum(shown[key], 1e-18)
      ax.plot(np.arange(len(y)) + 1, y, mark, color=color, label=name)
  title = 'losses with and without biases differ by (nats)'
  _draw.label(axes[0], title, yscale='log', ylim=(1e-18, 1e1))
  _draw.label(axes[1], "length of the biases' vector", yscale='log')
  _draw.legend(fig, axes[0])
  return fig
