"""Because the gradient flows through the batch statistics, it never proposes a
change that only shifts or scales a unit; with the statistics taken for
constants it does, and a bias can then grow without bound to no effect.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1; Ioffe &
Szegedy 2015 (arXiv 1502.03167), sections 2 and 3.3.

Measured in float64, on a sigmoid network of 4 x 32 units at its initialization
and a batch of 100 examples of MNIST-1D, a network and a batch for each seed.
For each unit, with h its value before normalization, d = dL/dh and W_j its
incoming kernel: the cosine of d with a shift of the whole batch and with the
centred h (a stretch), and the error of the identity
<dL/dW_j, W_j> = sum_i d_i h_i = sum_i g_i n_i epsilon / (var + epsilon),
where n is the normalized value and g = dL/dn. Once with the full gradient,
and with the gradient stopped through the mean, the variance and both.
The toy: x = u + b, loss = mean (x - mean x - t)^2 / 2, gradient descent on b
with learning rate 0.05 for 2,000 steps, u and t drawn for each seed.

Criterion: with the full gradient the errors of the identities are rounding
(below 1e-10, every seed); with the gradient stopped, the component that was
stopped is there (mean cosine above 0.01); in the toy the bias still grows in
proportion to the steps (ratio above 1.9 when they double, every seed) while
the loss stays (change below 1e-9), and with the full gradient it stays at 0.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax.criteria import EVERY, Criterion
from bn_jax.diagnostics.gradient_components import gradient_components
from experiments.claims import _double, _draw
from experiments.claims._toy import TOY_STEPS, descend_toy

CRITERIA = (
  Criterion('identity', 'error of <dL/dW, W>, relative', '<', 1e-10, 10, EVERY),
  Criterion('shift', 'largest shift cosine', '<', 1e-10, 10, EVERY),
  Criterion('stopped_mean', 'shift cosine, stopped through mean', '>', 0.01),
  Criterion('stopped_var', 'scale cosine, stopped through variance', '>', 0.01),
  Criterion('stopped_both', 'the smaller of them, both stopped', '>', 0.01),
  Criterion('growth', 'toy: |b| after 2n steps / n steps', '>', 1.9, 10, EVERY),
  Criterion('loss_change', 'toy: change of the loss', '<', 1e-9, 10, EVERY),
  Criterion('bias', 'toy, full gradient: |b|', '<', 1e-9, 10, EVERY),
)
SECONDS = 20
STOPS = {
  'none': 'full', 'mean': 'stop mean', 'var': 'stop var', 'both': 'stop both',
}  # fmt: skip
EPSILON = 1e-5


def measure(lab, full: str = 'none'):
  """Gradients of each seed; `full` is what stands for the full gradient."""
  with _double.float64():
    found = {stop: _gradients(lab, stop) for stop in STOPS}
    toys = [descend_toy(seed, full) for seed in lab.seeds]
  shift, scale = (
    {stop: [r[kind] for r in each] for stop, each in found.items()}
    for kind in ('shift', 'scale')
  )
  values = {
    'identity': [r['identity'] for r in found[full]],
    'shift': [r['largest_shift'] for r in found[full]],
    'stopped_mean': shift['mean'],
    'stopped_var': scale['var'],
    'stopped_both': np.minimum(shift['both'], scale['both']),
    'growth': [abs(t['stopped'][-1] / t['stopped'][-2]) for t in toys],
    'loss_change': [t['loss_change'] for t in toys],
    'bias': [abs(t['full']) for t in toys],
  }
  return {
    'values': values,
    'figure': {'shift': shift, 'scale': scale, 'toy': toys[0]['stopped']},
    'settings': {'epsilon': EPSILON, 'network': 'mlp 4 x 32, sigmoid'},
  }


def _gradients(lab, stop):
  """A dict of numbers for each seed, from one compiled program."""
  options = {'stop_gradient': stop, 'epsilon': EPSILON}
  model = _double.build('batch_norm', options, depth=4, width=32)

  @jax.jit
  def compare(seed, batch):
    params, g, d, values, sites = _double.gradients(model, seed, batch)
    errors, found = [], []
    for site in sites:
      h = values[site.path].input
      errors.append(_error(params, g, site, jnp.var(h, 0)))
      found.append(gradient_components(h, d[site.path]))
    shift, scale = (jnp.stack(x) for x in zip(*found, strict=True))
    return {
      'identity': jnp.max(jnp.stack(errors)),
      'largest_shift': jnp.max(shift),
      'shift': jnp.mean(shift),
      'scale': jnp.mean(scale),
    }

  def first(seed):
    batches = _double.batches(lab.dataset, seed, 1)
    return jax.tree.map(lambda x: x[0], batches)

  return [_double.numbers(compare(seed, first(seed))) for seed in lab.seeds]


def _error(params, g, site, var):
  """Of the identity for <dL/dW, W>, by the lengths of W and dL/dW."""
  kernel, dk = (t[site.feeder]['kernel'] for t in (params, g))
  norm = params[site.path]['norm'], g[site.path]['norm']
  wanted = norm[0]['scale'] * norm[1]['scale'] * EPSILON / (var + EPSILON)
  size = jnp.linalg.norm(kernel, axis=0) * jnp.linalg.norm(dk, axis=0)
  return jnp.max(jnp.abs(jnp.sum(kernel * dk, 0) - wanted) / size)


def figure(measured):
  """Cosines by what is stopped, and the bias of the toy."""
  fig, ((left, right),) = _draw.panels()
  shown = measured['figure']
  for i, stop in enumerate(STOPS):
    for kind, mark, color in (
      ('shift', 'o', _draw.BLUE), ('scale', 's', _draw.ORANGE),
    ):  # fmt: skip
      y = np.maximum(shown[kind][stop], 1e-18)
      _draw.dots(left, i, y, color, kind if i == 0 else None, mark)
  _draw.names(left, [f'stop {stop}' for stop in STOPS])
  _draw.label(left, "cosine of a unit's gradient with", '', yscale='log')
  left.legend(frameon=False, loc='center right')
  right.plot(TOY_STEPS, np.abs(shown['toy']), 'o-', color=_draw.ORANGE,
             label='stopped through the mean')  # fmt: skip
  right.plot(TOY_STEPS, [0] * 5, '-', color=_draw.BLUE, label='full gradient')
  _draw.label(right, 'toy: |bias| (the loss stays the same)')
  right.legend(frameon=False)
  return fig
