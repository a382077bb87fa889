"""A penalty on the units' statistics leaves them imperfectly normalized: there
is no weight of it at which they are normalized and the network still learns.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1.

Measured on a sigmoid network of 6 x 100 units and MNIST-1D, plain gradient
descent, 1,500 steps, batches of 100, for the three forms of the penalty: 9
weights from 1e-5 to 1e3, for each of them 6 learning rates from 0.001 to 3
(one seed that is not reported), then 10 seeds at the best rate. On validation
data at the end: accuracy, and the mean over sites of the distance from
normalized (root mean over units of m^2 + (s - 1)^2). Batch norm, tuned
alike on two such seeds, stands beside it. (A limit: the weights are chosen by
the very seeds and validation data that are reported, so that the accuracies are
a little too high: that of the best of all weights more than that of the best
normalized one.)

Criterion: units count as normalized where the mean distance over seeds is below
0.2. The price of normalization is the accuracy of the best weight minus that
of the best weight at which units are normalized, minus chance if there is no
such weight. For each form the price is above 0.01. (A penalty that normalizes
for nothing has a price of 0.)
"""

import numpy as np

from bn_jax.criteria import Criterion
from experiments.claims import _draw, _lab

FORMS = ('moments', 'kl', 'log_variance')
CRITERIA = tuple(
  Criterion(form, f'price of normalization, form {form}', '>', 0.01)
  for form in FORMS
)
SECONDS = 300
NORMALIZED = 0.2
WEIGHT, RATE = 'strategy.activation_penalty.weight', 'optimizer.learning_rate'


def measure(lab, strategy='activation_penalty'):
  """Sweeps weight and learning rate for each form."""
  steps = lab.size(1500, 50)
  weights = [float(f'{w:.3g}') for w in np.geomspace(1e-5, 1e3, 9)]
  weights = lab.size(weights, [0.01, 100.0])
  rates = _lab.rates(0.001, 3, lab.size(6, 2))
  found = {
    form: _sweep(lab, strategy, form, weights, rates, steps) for form in FORMS
  }
  config = lab.config('batch_norm', num_train_steps=steps)
  best = lab.tune('batch_norm', config, rates)
  reference = _scores(lab.report('batch_norm', config, best), 1)
  numbers = {
    'batch_norm: accuracy': float(reference['accuracy'].mean()),
    'batch_norm: distance': float(reference['distance'].mean()),
  }
  for form, seen in found.items():
    at = int(seen['accuracy'].mean(1).argmax())
    numbers |= {
      f'{form}: best weight': weights[at],
      f'{form}: its accuracy': float(seen['accuracy'][at].mean()),
      f'{form}: its distance': float(seen['distance'][at].mean()),
      f'{form}: smallest distance': float(seen['distance'].mean(1).min()),
    }
  return {
    'values': {form: price(**seen) for form, seen in found.items()},
    'figure': {'weights': weights, 'found': found, 'reference': reference},
    'numbers': numbers,
    'settings': {'steps': steps, 'normalized below': NORMALIZED},
  }


def price(accuracy, distance):
  """What normalization costs each seed in accuracy.

  Args:
    accuracy: (weights, seeds).
    distance: From normalized, (weights, seeds).
  """
  mean = accuracy.mean(1)
  best = accuracy[mean.argmax()]
  normalized = distance.mean(1) < NORMALIZED
  if not normalized.any():
    return best - _lab.CHANCE
  return best - accuracy[np.where(normalized, mean, -np.inf).argmax()]


def _sweep(lab, strategy, form, weights, rates, steps):
  config = lab.config(
    strategy, num_train_steps=steps,
    strategy__activation_penalty__form=form,
  )  # fmt: skip
  points, members = _lab.grid({WEIGHT: weights, **rates}, 1)
  tuned = _lab.accuracy(lab.fit(f'tune-{form}', config, members))
  best = tuned.reshape(len(weights), -1).argmax(1)
  chosen = [points[i * len(rates[RATE]) + int(at)] for i, at in enumerate(best)]
  members = [m for point in chosen for m in lab.members(point)]
  return _scores(lab.fit(form, config, members), len(weights))


def _scores(table, count):
  """Accuracy and distance at the end, (count, seeds) each."""
  last = table[table.step == table.step.max()].sort_values('member')
  names = [
    c for c in last
    if c.startswith('validation/site') and c.endswith('distance')
  ]  # fmt: skip
  distance = last[names].to_numpy().mean(1)
  distance = np.nan_to_num(distance, nan=1e3, posinf=1e3)  # diverged: far off
  accuracy = _lab.accuracy(table)
  return {
    'accuracy': accuracy.reshape(count, -1),
    'distance': distance.reshape(count, -1),
  }


def figure(measured):
  """Distance and accuracy by weight, and one against the other."""
  fig, (axes,) = _draw.panels()
  shown = measured['figure']
  for (form, seen), color in zip(
    shown['found'].items(), _draw.COLORS, strict=False
  ):
    distance, accuracy = (seen[k].T for k in ('distance', 'accuracy'))
    _draw.band(axes[0], shown['weights'], distance, form, color)
    axes[1].plot(
      distance.mean(0), 100 * accuracy.mean(0), 'o-', color=color, markersize=4
    )
  _draw.label(
    axes[0], 'distance from normalized', "penalty's weight", xscale='log',
    yscale='log',
  )  # fmt: skip
  reference = [np.mean(shown['reference'][k]) for k in ('distance', 'accuracy')]
  axes[1].plot(
    reference[0], 100 * reference[1], '*', color='black', markersize=11
  )
  axes[1].annotate(
    'batch_norm', (reference[0], 100 * reference[1]), (4, -12),
    textcoords='offset points', fontsize=8.5,
  )  # fmt: skip
  for line in (axes[0].axhline, axes[1].axvline):
    line(NORMALIZED, color=_draw.GREY, linewidth=0.8, linestyle='--')
  _draw.label(
    axes[1], 'validation accuracy (%)', 'distance from normalized', xscale='log'
  )
  _draw.legend(fig, axes[0])
  return fig
