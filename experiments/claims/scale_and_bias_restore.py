"""The learned scale and bias let a normalized network compute all that the old
one could, so nothing is lost; but it learns differently, and more easily.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1; Ioffe &
Szegedy 2015 (arXiv 1502.03167), section 3.

Measured on a sigmoid network of 3 x 50 units and MNIST-1D. A batch norm
network gets the kernels of a plain one, and at each site, bottom-up, scale =
sqrt(var + epsilon) and bias = mean of what arrives on a batch: the difference
of the logits relative to their length, in float32 and float64. Then both train
from that same function (restored on 1,000 training examples) with plain
gradient descent, 1,500 steps, batches of 100, six learning rates from 0.03 to
10 (the last added since a first full run had chosen 3, its largest): the
distance between their logits on the 1,000 examples, relative to the plain
network's centred logits, at the same learning rate of 0.3; and validation
accuracy (running statistics) averaged over the course of training, each at its
best learning rate, which two other seeds chose.

Criterion: the identity holds (relative error below 1e-5 in float32, 1e-12 in
float64, every seed); after 100 steps at the same learning rate the functions
are apart (distance above 0.1); and the normalized one learns faster
(difference of the mean accuracy along training above 0).
"""

import jax
import numpy as np

from bn_jax.criteria import EVERY, Criterion
from experiments.claims import _double, _draw, _lab
from experiments.claims._restore import restore, restored_error

CRITERIA = (
  Criterion('error_32', 'relative error, float32', '<', 1e-5, 10, EVERY),
  Criterion('error_64', 'relative error, float64', '<', 1e-12, 10, EVERY),
  Criterion('apart', 'distance after 100 steps', '>', 0.1),
  Criterion('faster', 'mean accuracy, batch_norm - none', '>', 0.0),
)
SECONDS = 120
SAME_RATE = 0.3
NETWORK = {'model__depth': 3, 'model__width': 50}


def measure(lab, restore=restore):
  """The identity, then the two courses; a plant may restore wrongly."""
  with _double.float64():
    errors = [restored_error(lab, seed, restore) for seed in lab.seeds]
  steps, every = lab.size((1500, 50), (100, 50))
  marks = list(range(0, steps + 1, every))
  rates = lab.size([0.03, 0.1, 0.3, 1.0, 3.0, 10.0], [0.3, 1.0])
  field = 'optimizer.learning_rate'
  points, tuning = _lab.grid({field: rates}, 2)
  members = tuning + [m for p in points for m in lab.members(p)]
  shape = (len(rates), len(lab.seeds), len(marks))
  found, best = {}, {}
  for name in ('none', 'batch_norm'):
    seen = _train(lab, name, steps, members, marks, restore)
    chosen = seen['accuracy'][: len(tuning), -1].reshape(len(rates), -1)
    best[name] = int(np.argmax(chosen.mean(1)))
    found[name] = {k: v[len(tuning) :].reshape(*shape, *v.shape[2:])
                   for k, v in seen.items()}  # fmt: skip
  a, b = (found[n]['logits'][rates.index(SAME_RATE)] for n in found)
  centred = a - a.mean(-2, keepdims=True)
  distance = np.sqrt(((b - a) ** 2).sum((-2, -1)) / (centred**2).sum((-2, -1)))
  curves = {n: found[n]['accuracy'][best[n]] for n in found}
  mean = {n: c[:, 1:].mean(1) for n, c in curves.items()}
  return {
    'values': {
      'error_32': [e[0] for e in errors],
      'error_64': [e[1] for e in errors],
      'apart': distance[:, marks.index(100)],
      'faster': mean['batch_norm'] - mean['none'],
    },
    'figure': {'marks': marks, 'distance': distance, 'curves': curves},
    'numbers': {
      f'best learning rate, {n}': rates[i] for n, i in best.items()
    } | {
      f'final accuracy, {n}': float(c[:, -1].mean()) for n, c in curves.items()
    },
    'settings': {'steps': steps, 'network': '3 x 50, sigmoid'},
  }  # fmt: skip


def _train(lab, name, steps, members, marks, restore):
  config = lab.config(name, num_train_steps=steps, **NETWORK)
  part = lab.dataset.validation
  examples = jax.tree.map(lambda x: x[0], lab.batches(1, 1000))
  data = {'examples': examples, 'held_out': part._asdict()}

  def prepare(program, state, data):
    def inputs(params):
      out = program.forward(state.replace(params=params), data['examples'])
      return {path: v.input for path, v in out.sites.items()}

    params = restore(program.sites, state.params, inputs)
    return state.replace(params=params)

  def probe(program, state, data):
    scores = program.eval_step(state, data['held_out'])
    logits = program.forward(state, data['examples']).logits
    accuracy = scores['correct'] / scores['count']
    return {'accuracy': accuracy, 'logits': logits}

  first = prepare if name == 'batch_norm' else None
  return lab.explore(config, members, probe, marks, data, first)


def figure(measured):
  """How far apart the two functions are, and how fast both learn."""
  fig, ((left, right),) = _draw.panels()
  shown = measured['figure']
  _draw.band(
    left, shown['marks'], shown['distance'], 'learning rate 0.3', _draw.PINK
  )
  _draw.label(left, 'distance between the two functions, relative')
  for (name, curve), color in zip(
    shown['curves'].items(), (_draw.GREY, _draw.BLUE), strict=True
  ):
    y = 100 * curve
    _draw.band(right, shown['marks'], y, f'{name}, best rate', color)
  _draw.label(right, 'validation accuracy (%)')
  for ax in (left, right):
    ax.legend(frameon=False)
  return fig
