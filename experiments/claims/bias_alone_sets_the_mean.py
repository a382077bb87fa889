"""Under batch norm the mean of a unit is set by its own bias alone; without, it
is moved by every layer below, which makes it hard to steer.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1, and a
blogger's open question about it: "easier to learn (how?)".

Measured on a sigmoid network of 6 x 100 units and MNIST-1D, plain gradient
descent with learning rate 0.3, at steps 0, 100, 300 and 1,000: one step on a
batch of 100, in float64, and the change of the mean, on that batch, of each
unit at each site's output if only one array of the parameters takes the step.
The share of a site's own bias is |its change| over the sum of all arrays'
|changes|, summed over units; the share of a layer is that of all its arrays
(kernel, bias, scale). Then steering: a network
of width 32 and depth 1 to 16, full-batch gradient descent on 100 examples, loss
= half the squared distance of the last site's mean from a target: the initial
mean + 1 for one unit, or + N(0, 1) for all units. Steps until each is within
0.05 for good, at the best of 7 learning rates from 0.001 to 1, at most 100. (A
limit: the mean over the same seeds that are reported chooses that rate, for
both networks, so that the steps are a little too few.)

Criterion: under batch norm the own bias has more than 0.999 (every seed, least
of the sites and steps); without, less than half at the deepest site (mean over
steps); and at depth 16 steering takes more steps without than with batch norm
(difference above 0), for one unit and for all.
"""

import numpy as np

from bn_jax.criteria import EVERY, Criterion
from experiments.claims import _draw
from experiments.claims._split import RATE, mean_shares
from experiments.claims._steer import LIMIT, steps_to_steer

CRITERIA = (
  Criterion('own', 'own share, batch_norm', '>', 0.999, 10, EVERY),
  Criterion('others', 'own share, none, deepest site', '<', 0.5),
  Criterion('one', 'steps for one unit, none - batch_norm', '>', 0.0),
  Criterion('all', 'steps for all units, none - batch_norm', '>', 0.0),
)
SECONDS = 90
NAMES = ('none', 'batch_norm')


def measure(lab, strategy: str = 'batch_norm'):
  """Shares and steps; `strategy` is what stands for batch norm."""
  names = dict(zip(NAMES, ('none', strategy), strict=True))
  marks = lab.size([0, 100, 300, 1000], [0, 100])
  found = {n: mean_shares(lab, s, marks) for n, s in names.items()}
  shares, layers = ({n: f[i] for n, f in found.items()} for i in (0, 1))
  depths = lab.size([1, 2, 4, 8, 16], [1, 4])
  steps = {
    f'{n}, {target}': np.stack(
      [steps_to_steer(lab, s, d, target) for d in depths], -1
    )
    for target in ('one', 'all')
    for n, s in names.items()
  }  # (rates, seeds, depths)
  best = {
    k: v[v.mean(1).argmin(0), :, range(len(depths))].T for k, v in steps.items()
  }  # (seeds, depths)
  deep = {k: v[:, -1] for k, v in best.items()}
  return {
    'values': {
      'own': shares['batch_norm'].min((1, 2)),
      'others': shares['none'][:, :, -1].mean(1),
      'one': deep['none, one'] - deep['batch_norm, one'],
      'all': deep['none, all'] - deep['batch_norm, all'],
    },
    'figure': {
      'shares': {k: v.mean(1) for k, v in shares.items()},
      'layers': {k: v.mean(1) for k, v in layers.items()},
      'depths': depths,
      'steps': best,
    },
    'numbers': {
      f'steps at depth {depths[-1]}, {k}': float(v.mean())
      for k, v in deep.items()
    }
    | {
      f'share of each layer in the mean of layer {i + 1}, {k}': ', '.join(
        f'{share:.3g}' for share in row[: i + 1]
      )
      for k, v in layers.items()
      for i, row in enumerate(v.mean((0, 1)))
    },
    'settings': {'learning rate of the shares': RATE, 'limit': LIMIT},
  }  # fmt: skip


def figure(measured):
  """The own bias's share by site, each layer's share, and steps by depth."""
  fig, ((left, right), below) = _draw.panels(2, 2)
  shown = measured['figure']
  for (name, found), color in zip(
    shown['shares'].items(), (_draw.GREY, _draw.BLUE), strict=True
  ):
    _draw.band(left, np.arange(len(found[0])) + 1, found, name, color)
  left.set_ylim(-0.03, 1.05)
  left.legend(frameon=False)
  _draw.label(left, "own bias's share of the mean's change", 'hidden layer')
  for ax, (name, found) in zip(below, shown['layers'].items(), strict=True):
    image = _draw.heat(ax, found.mean(0))
    numbers = range(len(found[0]))
    ax.set(xticks=numbers, yticks=numbers)
    ax.set(xticklabels=[i + 1 for i in numbers],
           yticklabels=[i + 1 for i in numbers])  # fmt: skip
    title = f"{name}: shares of a mean's change"
    _draw.label(ax, title, 'layer whose arrays move')
  below[0].set_ylabel('layer whose mean moves')
  fig.colorbar(image, ax=below, shrink=0.9, aspect=20).set_label('share (%)')
  for name, found in shown['steps'].items():
    color = _draw.GREY if name.startswith('none') else _draw.BLUE
    mark = 'o-' if name.endswith('one') else 's--'
    label = f'{name} unit' + ('s' if mark == 's--' else '')
    _draw.band(right, shown['depths'], found, label, color, mark)
  _draw.label(right, 'steps to move the means', 'depth', xscale='log')
  right.set_xticks(shown['depths'], shown['depths'])
  right.minorticks_off()
  right.legend(frameon=False, fontsize=8)
  return fig
