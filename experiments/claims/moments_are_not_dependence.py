"""Normalizing takes away the mean and the scale of each unit, but not the
linear dependence between units; that takes a whitening transform.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1; Huang et
al. 2018 (arXiv 1804.08450) for the whitening.

Measured on a sigmoid network of 4 x 40 units and MNIST-1D, plain gradient
descent, 1,000 steps, batches of 100, each strategy's learning rate tuned (5
rates from 0.03 to 13.9, the last added since a first full run had chosen 3, its
largest; two seeds that are not reported): none, penalty, renormalize,
batch_norm, and decorrelated_batch_norm on two groups of 20 units by ZCA and by
Cholesky (Gram-Schmidt). On 1,000 held-out examples, with running statistics,
at initialization and at the end, mean over sites of the normalized values:
root mean square correlation of pairs of units within groups of 20 and of all
pairs, distance from mean 0 and variance 1, and ||cov - I||_F / sqrt(units)
within groups. (1,000 examples of independent units give a correlation of 0.03.
At initialization there are no running statistics yet, so batch norm and the
whitenings leave the units as they are.)

Criterion, at the end: batch norm's units are near mean 0 and variance 1
(distance below 0.2), yet correlated (above 0.1) and at least half as much as
without normalization (ratio above 0.5); whitening, by either method, leaves
less than half of batch norm's correlation within groups.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax.criteria import Criterion
from bn_jax.diagnostics import dependence
from bn_jax.diagnostics.normality import distance
from experiments.claims import _draw, _lab

CRITERIA = (
  Criterion('distance', 'distance from normalized, batch_norm', '<', 0.2),
  Criterion('correlated', 'correlation, batch_norm', '>', 0.1),
  Criterion('kept', 'correlation, batch_norm over none', '>', 0.5),
  Criterion('zca', 'correlation in groups, ZCA over batch_norm', '<', 0.5),
  Criterion('cholesky', 'the same for Cholesky', '<', 0.5),
)
SECONDS = 180
GROUP = 20
WHITE = 'decorrelated_batch_norm'
CASES = {
  'none': ('none', {}),
  'penalty': ('activation_penalty', {}),
  'renormalize': ('renormalize', {}),
  'batch_norm': ('batch_norm', {}),
  'ZCA': (WHITE, {f'strategy__{WHITE}__method': 'zca'}),
  'Cholesky': (WHITE, {f'strategy__{WHITE}__method': 'cholesky'}),
}


def measure(lab, **taken):
  """Trains each strategy and looks at its units.

  Args:
    lab: Where.
    **taken: A case's name, and the one that a plant takes for it.
  """
  steps = lab.size(1000, 50)
  rates = _lab.rates(0.03, 13.9, lab.size(5, 1))
  found, numbers = {}, {}
  for name in lab.size(list(CASES), ['none', 'batch_norm', 'ZCA', 'Cholesky']):
    chained, fields = CASES[taken.get(name, name)]
    config = lab.config(
      chained, num_train_steps=steps, model__depth=4, model__width=40, **fields
    )
    best = lab.tune(name, config, rates)
    found[name] = _look(lab, config, best, [0, steps])
    end = {k: float(v[:, -1].mean()) for k, v in found[name].items()}
    numbers[f'{name}: learning rate'] = best['optimizer.learning_rate']
    numbers |= {
      f'{name}: {k}': end[k] for k in ('whiteness', 'distance', 'accuracy')
    }
  return {
    'values': quantities(found),
    'figure': found,
    'numbers': numbers,
    'settings': {'steps': steps, 'group': GROUP},
  }


def quantities(found):
  """What the criteria are about, from arrays (seeds, marks)."""
  end = {
    name: {k: np.asarray(v)[:, -1] for k, v in seen.items()}
    for name, seen in found.items()
  }
  normal = end['batch_norm']
  return {
    'distance': normal['distance'],
    'correlated': normal['correlation'],
    'kept': normal['correlation'] / end['none']['correlation'],
    'zca': end['ZCA']['within'] / normal['within'],
    'cholesky': end['Cholesky']['within'] / normal['within'],
  }


def _look(lab, config, best, marks):
  evaluate = lab.evaluator(config)

  def probe(program, state, batch):
    out = evaluate(program, state, batch)
    scores = program.eval_step(state, batch)
    values = [v.normalized for v in out.sites.values()]
    groups = [
      v[:, i : i + GROUP] for v in values for i in range(0, v.shape[1], GROUP)
    ]
    mean = lambda question, xs: jnp.mean(  # noqa: E731
      jnp.stack([question(x) for x in xs])
    )
    return {
      'correlation': mean(dependence.correlation, values),
      'within': mean(dependence.correlation, groups),
      'whiteness': mean(dependence.whiteness, groups),
      'distance': mean(lambda x: distance(jnp.mean(x, 0), jnp.var(x, 0)),
                       values),
      'accuracy': scores['correct'] / scores['count'],
    }  # fmt: skip

  batch = jax.tree.map(jnp.asarray, lab.held_out(1000))
  return lab.explore(config, lab.members(best), probe, marks, batch)


def figure(measured):
  """Correlation, and distance from normalized, by strategy."""
  fig, ((left, right),) = _draw.panels(height=3.0)
  shown = measured['figure']
  for i, (name, seen) in enumerate(shown.items()):
    del name
    for shift, at, color, when in (
      (-0.18, 0, _draw.GREY, 'at initialization'),
      (0.18, -1, _draw.BLUE, 'after training'),
    ):
      label = when if i == 0 else None
      for ax, key in ((left, 'within'), (right, 'distance')):
        samples = seen[key][:, at]
        _draw.dots(ax, i + shift, np.maximum(samples, 1e-3), color, label)
  _draw.label(left, 'correlation within groups of 20', '')
  _draw.label(right, 'distance from mean 0, variance 1', '', yscale='log')
  for ax in (left, right):
    _draw.names(ax, shown, 30)
  left.set_ylim(bottom=0)
  _draw.legend(fig, left)
  return fig
