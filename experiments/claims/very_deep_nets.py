"""Very deep networks are hard to train, and batch normalization makes deeper
ones trainable, at a wider range of learning rates.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1; Ioffe &
Szegedy 2015 (arXiv 1502.03167), sections 1 and 3.3.

Measured on plain tanh networks of 2 to 64 hidden layers of 32 units
(LeCun-normal kernels, with which tanh networks without normalization do
train), MNIST-1D, plain gradient descent, 500 steps, batches of 100: four
strategies x 6 depths x 6 learning rates from 0.01 to 3 x 10 seeds. A run works
if its validation accuracy reaches 35% at any of the evaluations, 50 steps
apart. The penalty has its default weight of 0.01.

Criterion, for each seed: the deepest network that works at some rate is
deeper with batch norm than with none (log2 of the ratio above 0), and so is
the range of working rates, in factors of the grid (about 3.1), mean over
depths, batch norm minus none above 0.
"""

import numpy as np

from bn_jax.criteria import Criterion
from experiments.claims import _draw, _lab

CRITERIA = (
  Criterion('deeper', 'log2 of deepest, batch_norm over none', '>', 0.0),
  Criterion('wider', 'working rates, batch_norm - none', '>', 0.0),
)
SECONDS = 700
NAMES = ('none', 'activation_penalty', 'renormalize', 'batch_norm')
TARGET = 0.35
RATE = 'optimizer.learning_rate'


def measure(lab, **taken):
  """Trains every combination of strategy, depth, learning rate and seed.

  Args:
    lab: Where.
    **taken: A strategy's name, and the one that a plant takes for it.
  """
  steps = lab.size(500, 200)
  depths = lab.size([2, 4, 8, 16, 32, 64], [2, 16])
  rates = _lab.rates(0.01, 3, lab.size(6, 2))
  works = {
    name: np.stack(
      [_works(lab, taken.get(name, name), d, rates, steps) for d in depths]
    )
    for name in NAMES
  }  # (depths, rates, seeds)
  return {
    'values': quantities(works, depths),
    'figure': {'works': works, 'depths': depths, 'rates': rates[RATE]},
    'numbers': _numbers(works, depths, rates[RATE]),
    'settings': {'steps': steps, 'target': TARGET, 'width': 32},
  }


def quantities(works, depths):
  """Each seed's deepest network (1 if none works) and its working rates."""
  deepest, rates = {}, {}
  for name in ('none', 'batch_norm'):
    found = np.asarray(works[name], bool)
    trained = found.any(1)  # (depths, seeds)
    deepest[name] = np.where(trained, np.array(depths)[:, None], 1).max(0)
    rates[name] = found.sum(1).mean(0)
  return {
    'deeper': np.log2(deepest['batch_norm'] / deepest['none']),
    'wider': rates['batch_norm'] - rates['none'],
  }


def _works(lab, name, depth, rates, steps):
  """Whether a run reached the target, (rates, seeds)."""
  config = lab.config(
    name, num_train_steps=steps, log__every=50, log__eval_every=50,
    log__sites=False, model__depth=depth, model__width=32,
    model__activation='tanh',
  )  # fmt: skip
  members = [m for rate in rates[RATE] for m in lab.members({RATE: rate})]
  table = lab.fit(f'{name}-{depth}', config, members)
  reached = np.isfinite(_lab.steps_to(table, TARGET))
  return reached.reshape(len(rates[RATE]), -1)


def _numbers(works, depths, rates):
  """The deepest trainable net and the widest range, in words."""
  found = {}
  for name, each in works.items():
    share = each.mean(-1)  # (depths, rates)
    deep = [d for d, row in zip(depths, share, strict=True) if row.max() >= 0.5]
    found[f'{name}: deepest net that half of the seeds train'] = (
      max(deep) if deep else 'none'
    )
    ranges = [np.array(rates)[row >= 0.5] for row in share]
    wide = max(r.max() / r.min() if len(r) else 0 for r in ranges)
    found[f'{name}: widest range of working rates, a factor of'] = float(wide)
  return found


def figure(measured):
  """A heat map for each strategy: the share of seeds that works."""
  fig, axes = _draw.panels(2, 2, 2.1, sharex=True, sharey=True)
  shown = measured['figure']
  for ax, name in zip(axes.flat, NAMES, strict=True):
    image = _draw.heat(ax, shown['works'][name].mean(-1))
    ax.set_title(name, loc='left', fontsize=9)
    ax.set_yticks(range(len(shown['depths'])), shown['depths'])
    labels = [f'{r:.2g}' for r in shown['rates']]
    ax.set_xticks(range(len(labels)), labels, rotation=30)
  for ax in axes[-1]:
    ax.set_xlabel('learning rate')
  for ax in axes[:, 0]:
    ax.set_ylabel('hidden layers')
  bar = fig.colorbar(image, ax=axes, shrink=0.6, aspect=30)
  bar.set_label(f'seeds that reach {TARGET:.0%} (%)')
  return fig
