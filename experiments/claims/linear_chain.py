"""In a deep linear chain all layers move at once, so that a step does not do
what the gradient predicts; normalizing every layer mends that, since of the
layers below it leaves nothing but a sign. In wider linear networks more than a
sign is left, and normalizing still makes steps more predictable.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 8.7.1.

Measured in float64 on x ~ N(0, 1), 1,000 examples for each seed, models
`linear_chain` of depth 2 to 64. The scalar chain y = v x w_1 ... w_l with
log |w_i| ~ N(0, 0.1^2) and random signs: under batch norm (epsilon 0), the
distance of what enters the head from sign(w_1 ... w_l) times the standardized
x, and the length of the gradient with respect to w_1 ... w_l. The trouble: J
is the mean of y t, t = x here; a gradient step of size e on all weights
changes J by dJ, where the gradient predicts e |g|^2: the error is
|dJ / (e |g|^2) - 1|. Then the same with width 16, 16 inputs, orthogonal
kernels and 16 outputs, t a random rotation of x: what remains of the hidden
layers is the share of |g|^2 that is theirs.

Criterion: scalar chain, normalized: difference, hidden gradient and error are
rounding (below 1e-9, every seed); not normalized, at e = 0.03 the error is
above 0.5 at depth 64 and below 0.1 at depth 2. Width 16: at e = 0.03 and depth
64 the error with normalization is smaller than without (difference above 0),
and the hidden layers' share of |g|^2 stays above 0.01.
"""

import numpy as np

from bn_jax.criteria import EVERY, Criterion
from experiments.claims import _double, _draw
from experiments.claims._chain import STEPS, hidden_share, measure_chain

CRITERIA = (
  Criterion('only_sign', 'distance from sign times x', '<', 1e-9, 10, EVERY),
  Criterion('no_gradient', 'hidden |g| over head |g|', '<', 1e-9, 10, EVERY),
  Criterion('mended', 'error, normalized, depth 64', '<', 1e-9, 10, EVERY),
  Criterion('trouble', 'error, not normalized, depth 64', '>', 0.5),
  Criterion('no_trouble', 'error, not normalized, depth 2', '<', 0.1),
  Criterion('wide_gain', 'width 16: error without - with, depth 64', '>', 0),
  Criterion('wide_share', 'width 16: hidden share of |g|^2', '>', 0.01),
)
SECONDS = 60
STEP = 0.03
CASES = {
  'scalar, none': ('none', 1), 'scalar, batch_norm': ('batch_norm', 1),
  'width 16, none': ('none', 16), 'width 16, batch_norm': ('batch_norm', 16),
}  # fmt: skip


def measure(lab, strategy: str = 'batch_norm'):
  """Errors by depth and step; `strategy` is what normalizes."""
  depths = lab.size([2, 4, 8, 16, 32, 64], [2, 16])
  cases = {k: (strategy if s != 'none' else s, w)
           for k, (s, w) in CASES.items()}  # fmt: skip
  with _double.float64():
    found = {
      name: [measure_chain(lab.seeds, *case, depth) for depth in depths]
      for name, case in cases.items()
    }  # name -> depth -> dict of (seeds, ...)
  error = {
    name: np.stack([f['error'] for f in each], 1)
    for name, each in found.items()
  }  # (seeds, depths, steps)
  at = STEPS.index(STEP)
  deep = {name: e[:, -1, at] for name, e in error.items()}
  scalar, wide = found['scalar, batch_norm'], found['width 16, batch_norm']
  return {
    'values': {
      'only_sign': np.max([f['distance'] for f in scalar], 0),
      'no_gradient': np.max([f['hidden'] / f['head'] for f in scalar], 0),
      'mended': deep['scalar, batch_norm'],
      'trouble': deep['scalar, none'],
      'no_trouble': error['scalar, none'][:, 0, at],
      'wide_gain': deep['width 16, none'] - deep['width 16, batch_norm'],
      'wide_share': hidden_share(wide[-1]),
    },
    'figure': {'depths': depths, 'error': error},
    'numbers': {
      f'hidden share of |g|^2, {name}, depth {depths[-1]}': float(
        np.mean(hidden_share(each[-1]))
      )
      for name, each in found.items()
    }
    | {
      f'predicted change at e = {STEP}, {name}, depth {depths[-1]}': float(
        STEP * np.mean(each[-1]['hidden'] ** 2 + each[-1]['head'] ** 2)
      )
      for name, each in found.items()
    },
    'settings': {'epsilon': 0.0, 'examples': 1000},
  }


def figure(measured):
  """The prediction's error over depth, for two sizes of the step."""
  fig, (axes,) = _draw.panels(sharey=True)
  shown = measured['figure']
  for ax, step in zip(axes, (STEP, 0.1), strict=True):
    for (name, error), color in zip(
      shown['error'].items(), _draw.COLORS, strict=False
    ):
      y = np.maximum(error[:, :, STEPS.index(step)], 1e-16)
      _draw.band(ax, shown['depths'], y, name, color)
    _draw.label(
      ax, f'|actual / predicted change - 1|, step {step}', 'depth',
      xscale='log', yscale='log',
    )  # fmt: skip
    ax.set_xticks(shown['depths'], shown['depths'])
    ax.minorticks_off()
  _draw.legend(fig, axes[0], 2)
  return fig
