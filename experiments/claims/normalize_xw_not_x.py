"""It is better to normalize XW + b than X, since X comes out of a nonlinearity
and is further from a normal distribution.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1; Ioffe &
Szegedy 2015 (arXiv 1502.03167), section 3.2.

Measured on networks of 6 hidden layers, 20 and 100 wide, sigmoid, tanh and
ReLU, on MNIST-1D, plain gradient descent, 1,000 steps, batches of 100: batch
norm before the nonlinearity (XW), after it, and right before W (X), each with
its learning rate tuned (4 rates, two seeds that are not reported). Accuracy is
that on held-out data at the end. On 1,000 held-out examples, for the input X
and output XW + b of every dense layer but the first and the head, at steps 0,
100 and 1,000: the 1-Wasserstein distance from N(0, 1), the |skewness| and the
|excess kurtosis| of each unit's standardized values, mean over units and layers
(1,000 normal values give about 0.03, 0.06 and 0.12).

Criterion: XW's distance from normal is smaller than X's, at initialization
and at the end (differences above 0; network normalized at XW, mean over the
six combinations), and normalizing XW gives the higher accuracy, against X and
against after the nonlinearity (differences above 0, mean over the six).
"""

import numpy as np

from bn_jax.criteria import Criterion
from experiments.claims import _draw, _lab, _normal

CRITERIA = (
  Criterion('start', 'distance from normal, X - XW, at start', '>', 0.0),
  Criterion('end', 'distance from normal, X - XW, at end', '>', 0.0),
  Criterion('against_x', 'accuracy, normalized at XW - at X', '>', 0.0),
  Criterion('against_post', 'accuracy, XW - after nonlinearity', '>', 0.0),
)
SECONDS = 300
SITES = {
  'pre_activation': 'XW', 'input': 'X', 'post_activation': 'after',
}  # fmt: skip


def measure(lab, look=_normal.look, **taken):
  """Trains every combination of site, nonlinearity and width.

  Args:
    lab: Where.
    look: How units are looked at; a plant may mistake X for XW.
    **taken: A site's name, and the one that a plant takes for it.
  """
  steps = lab.size(1000, 100)
  marks = lab.size([0, 100, 1000], [0, 100])
  acts = lab.size(['sigmoid', 'tanh', 'relu'], ['sigmoid'])
  rates = _lab.rates(0.03, 3, lab.size(4, 1))
  found = {}
  for act in acts:
    for width in lab.size([20, 100], [20]):
      for site in SITES:
        config = lab.config(
          'batch_norm', num_train_steps=steps, model__activation=act,
          model__width=width, model__site=taken.get(site, site),
        )  # fmt: skip
        name = f'{act}, {width}, {SITES[site]}'
        best = lab.tune(name.replace(', ', '-'), config, rates)
        found[name] = look(lab, config, best, marks)
  return {
    'values': quantities(found),
    'figure': found,
    'numbers': {
      f'{name}: accuracy': float(seen['accuracy'][:, -1].mean())
      for name, seen in found.items()
    }
    | _normal.told(found, marks),
    'settings': {'steps': steps},
  }


def quantities(found):
  """What the criteria are about, from arrays (seeds, marks, 2 for X, XW)."""

  def at(site, key):
    chosen = [v[key] for n, v in found.items() if n.endswith(f', {site}')]
    return np.mean(np.array(chosen), 0)

  gap = at('XW', 'wasserstein')
  gap = gap[..., 0] - gap[..., 1]
  accuracy = {s: at(s, 'accuracy')[:, -1] for s in SITES.values()}
  return {
    'start': gap[:, 0],
    'end': gap[:, -1],
    'against_x': accuracy['XW'] - accuracy['X'],
    'against_post': accuracy['XW'] - accuracy['after'],
  }


def figure(measured):
  """Distance from normal of X and XW, and accuracy, by combination."""
  fig, ((left, right),) = _draw.panels(height=3.2)
  shown = measured['figure']
  combinations = list(dict.fromkeys(n.rpartition(', ')[0] for n in shown))
  for i, combination in enumerate(combinations):
    gap = shown[f'{combination}, XW']['wasserstein']
    for j, (name, color) in enumerate(
      (('X', _draw.ORANGE), ('XW', _draw.BLUE))
    ):
      for when, mark, shift in (('start', 's', -0.2), ('end', 'o', 0.2)):
        y = gap[:, 0 if when == 'start' else -1, j]
        label = f'{name}, {when}' if i == 0 else None
        _draw.dots(left, i + shift, y, color, label, mark)
    for j, (site, color) in enumerate(
      zip(SITES.values(), (_draw.BLUE, _draw.ORANGE, _draw.GREEN), strict=True)
    ):
      y = 100 * shown[f'{combination}, {site}']['accuracy'][:, -1]
      label = f'normalized: {site}' if i == 0 else None
      _draw.dots(right, i + 0.25 * (j - 1), y, color, label)
  _draw.label(left, 'distance from N(0, 1) (std. dev.)', '')
  _draw.label(right, 'held-out accuracy (%)', '')
  for ax in (left, right):
    _draw.names(ax, combinations, 35)
    ax.legend(
      frameon=False, fontsize=8, ncols=2, loc='lower center',
      bbox_to_anchor=(0.5, 1.07),
    )  # fmt: skip
  return fig
