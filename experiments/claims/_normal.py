"""How far from normal the input X and the output XW + b of layers are."""

import jax.numpy as jnp

from bn_jax.diagnostics.linear_values import linear_values
from bn_jax.diagnostics.probes import PROBES

_NAMES = {
  'wasserstein': 'distance from N(0, 1)',
  'skewness': '|skewness|',
  'kurtosis': '|excess kurtosis|',
}


def look(lab, config, best, marks):
  """Each measure of X and XW, and the accuracy, on held-out data.

  Returns:
    Arrays by name: measures (seeds, marks, 2 for X and XW), means over units
    and layers (all but the first and the head); `accuracy` (seeds, marks).
  """
  model = lab.model(config)

  def probe(program, state, batch):
    variables = {'params': state.params, 'batch_stats': state.batch_stats}
    image = (batch['image'] - lab.dataset.mean) / lab.dataset.std
    found = linear_values(model, variables, image, train=True)
    pairs = list(found.values())[1:-1]
    told = {
      name: jnp.stack(
        [
          jnp.mean(jnp.stack([PROBES[name](pair[i]) for pair in pairs]))
          for i in (0, 1)
        ]
      )
      for name in _NAMES
    }
    scores = program.eval_step(state, batch)
    return told | {'accuracy': scores['correct'] / scores['count']}

  return lab.explore(
    config, lab.members(best), probe, marks, lab.held_out(1000)
  )


def told(found, marks) -> dict[str, str]:
  """X -> XW of each measure along training, networks normalized at XW."""
  normalized = [seen for name, seen in found.items() if name.endswith(', XW')]
  lines = {}
  for key, name in _NAMES.items():
    mean = sum(seen[key].mean(0) for seen in normalized) / len(normalized)
    lines |= {
      f'{name} of X and of XW, step {mark:,}': f'{x:.3g} and {xw:.3g}'
      for mark, (x, xw) in zip(marks, mean, strict=True)
    }
  return lines
