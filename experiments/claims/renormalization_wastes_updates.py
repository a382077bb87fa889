"""Renormalizing the weights after each step wastes the optimizer's work: it
keeps proposing the change of mean and variance that the edit undoes.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1; Ioffe &
Szegedy 2015 (arXiv 1502.03167), section 2.

Measured on a sigmoid network of 6 x 100 units and MNIST-1D, plain gradient
descent, batches of 100, the learning rate of `renormalize` and `batch_norm`
tuned each (6 rates, 2 seeds of their own). At 5 points of training, over 10
successive steps: what the edit leaves of a step is the difference between the
parameters edited after the step and those edited on the same batch without it
(an edit moves parameters even where the optimizer rests, since batches differ).
The share of the step that is not left, as projection on the step, for all
parameters, for the kernel of each layer (numbered from the input; the last is
the head) and for the function (logits of 500 held-out examples); the path of
the optimizer (sum of its steps' lengths) over that of what is left; the cosine
of successive proposals to change the mean and log standard
deviation of all units; and the share of the squared step that only shifts or
scales units, which batch norm does without. Then the steps until validation
accuracy reaches 50%, at most 2,000. (The ratio of paths is told, not judged: an
edit may lengthen the way as well as shorten it.)

Criterion: more than a tenth of the step and of the function's change is undone;
successive proposals agree (cosine above 0); under
batch norm the share that shifts or scales is below 0.01; and renormalizing
needs more steps (log2 of the ratio of steps above 0).
"""

import numpy as np

from bn_jax import results
from bn_jax.criteria import Criterion
from bn_jax.diagnostics import undone
from experiments.claims import _draw, _lab

CRITERIA = (
  Criterion('parameters', 'share of the step undone', '>', 0.1),
  Criterion('function', "share of the function's change undone", '>', 0.1),
  Criterion('repeated', 'cosine of successive proposals', '>', 0.0),
  Criterion('batch_norm', 'shift and scale share, batch_norm', '<', 0.01),
  Criterion('slower', 'log2 of steps, renormalize over batch_norm', '>', 0.0),
)
SECONDS = 180
NAMES = ('renormalize', 'batch_norm')
TARGET = 0.5


def measure(lab, **planted):
  """Probes and steps to the target; a plant has fields of the opposite."""
  steps = lab.size(2000, 100)
  marks = [steps * i // 4 for i in range(5)]
  found, reached, numbers, curves = {}, {}, {}, {}
  for name in NAMES:
    own = {k: v for k, v in planted.items() if k.split('__')[1] == name}
    config = lab.config(name, num_train_steps=steps, log__eval_every=50, **own)
    best = lab.tune(name, config, _lab.rates(0.03, 3, lab.size(6, 2)))
    table = lab.report(name, config, best)
    reached[name] = np.minimum(_lab.steps_to(table, TARGET), steps)
    found[name] = _probe(lab, config, best, marks)
    curves[name] = _lab.curves(table, 'validation/accuracy')
    (summary,) = results.summaries(lab.folder / 'runs' / name).values()
    seconds = reached[name].mean() / summary['steps_per_second']
    numbers |= {
      f'{name}: learning rate': best['optimizer.learning_rate'],
      f'{name}: steps to {TARGET:.0%} accuracy': float(reached[name].mean()),
      f'{name}: seconds to it, on this machine': float(seconds),
    }
  edit = {k: np.asarray(v) for k, v in found['renormalize'].items()}
  way = edit['proposed'].sum()
  numbers |= {
    'renormalize: path of the optimizer over path left': way
    / edit['kept'].sum(),
    'renormalize: the same over the way with edits': way / edit['net'].sum(),
    'batch_norm: cosine of proposals': np.mean(found['batch_norm']['cosine']),
    "renormalize: share undone of each layer's kernel's step": ', '.join(
      f'{share:.3g}' for share in edit['layers'].mean((0, 1, 2))
    ),
  }
  return {
    'values': quantities(found, reached),
    'figure': {'marks': marks, 'probes': found, 'curves': curves},
    'numbers': numbers,
    'settings': {'steps': steps, 'target': TARGET},
  }


def quantities(found, reached):
  """What the criteria are about, from probes (seeds, marks, steps)."""
  edit = {k: np.asarray(v) for k, v in found['renormalize'].items()}
  ratio = np.divide(*(np.asarray(reached[n], float) for n in NAMES))
  return {
    'parameters': edit['parameters'].mean((1, 2)),
    'function': edit['function'].mean((1, 2)),
    'repeated': edit['cosine'].mean((1, 2)),
    'batch_norm': np.mean(found['batch_norm']['idle'], (1, 2)),
    'slower': np.log2(ratio),
  }


def _probe(lab, config, best, marks):
  """Numbers of successive steps, each (seeds, marks, steps)."""
  plain = config.copy_and_resolve_references()
  if 'renormalize' in plain.strategy:
    plain.strategy.renormalize.every = 10**9  # never: the optimizer's proposal
  plain = lab.program(plain)
  data = {'batches': lab.batches(10), 'held_out': lab.held_out(500)}

  idle = {field: 0.0 for field in best}  # the learning rate is all there is

  def probe(program, state, data):
    return undone.successive_steps(program, plain, idle, state, **data)

  return lab.explore(config, lab.members(best), probe, marks, data)


def figure(measured):
  """What the edit undoes along training and by layer; the learning curves."""
  fig, ((left, right), (below, last)) = _draw.panels(2, 2)
  shown, marks = measured['figure'], measured['figure']['marks']
  edit, normal = (shown['probes'][name] for name in NAMES)
  share = lambda key, found=edit: np.mean(found[key], 2)  # noqa: E731
  _draw.band(left, marks, share('parameters'), 'of the step', _draw.BLUE)
  name = "of the function's change"
  _draw.band(left, marks, share('function'), name, _draw.ORANGE)
  _draw.label(left, 'renormalize: share undone')
  _draw.band(
    right, marks, share('cosine'), 'renormalize: cosine of\nproposals',
    _draw.GREEN,
  )  # fmt: skip
  name = 'batch_norm: share that\nshifts or scales'
  _draw.band(right, marks, share('idle', normal), name, _draw.GREY, 's--')
  _draw.label(right, 'successive proposals')
  layers = np.mean(edit['layers'], (1, 2))  # (seeds, layers)
  number = np.arange(layers.shape[1]) + 1
  _draw.band(below, number, layers, None, _draw.BLUE)
  x = 'layer, from the input (the last is the head)'
  _draw.label(below, "renormalize: share undone of each kernel's step", x)
  below.set_xticks(number)
  for (name, (x, y)), color in zip(
    shown['curves'].items(), (_draw.GREEN, _draw.BLUE), strict=True
  ):
    _draw.band(last, x, 100 * y, name, color, '-')
  last.axhline(100 * TARGET, color=_draw.GREY, linewidth=0.8)
  _draw.label(last, 'validation accuracy (%)')
  for ax in (left, right, last):
    ax.legend(frameon=False)
  return fig
