"""Running statistics recomputed over a pass of the data."""

import jax
import numpy as np

from bn_jax.errors import UserError

_STATISTICS = ('mean', 'var')


def precise_batch_stats(train_forward, variables, batches, weights=None):
  """The statistics of all the data under the parameters as they are now.

  An exponential average mixes the statistics of old parameters into those of
  new ones. Here the parameters stand still: mean = E[m_b] and var = E[v_b] +
  Var[m_b] over the batches b (Wu & Johnson 2021, arXiv 2105.07576, section 3).
  Batches pass in training mode, normalized by their own statistics.

  It works on any model whose BatchNorm layers keep `mean` and `var` in
  'batch_stats' by a linear average with a constant momentum, or by one of
  `bn_jax.BatchNorm`: bn_jax's and Flax's, under jit, scan, vmap and remat. A
  layer's momentum is found from the derivative of the new average by the old.

  Args:
    train_forward: (variables, batch) -> the updated collections, a mapping that
      holds 'batch_stats', for example `lambda v, x: model.apply(v, x,
      train=True, mutable=['batch_stats'])[1]`. It is jitted here.
    variables: the model's variables, 'batch_stats' among them.
    batches: an iterable of batches, pytrees of arrays.
    weights: an iterable with each batch's weight; by default the length of the
      first axis of the batch's first array.

  Returns:
    A tree like `variables['batch_stats']`. In it, `mean` and `var` are new,
    whatever else it holds (a count) is as given. A layer that never updates
    its statistics keeps them.

  Raises:
    UserError: there is no batch, or no layer with `mean` and `var`.
  """
  old = variables['batch_stats']
  layers = _layers(old)
  zeros = jax.tree.map(lambda a: 0 * a, old)
  ones = _map_statistics(lambda a: a + 1, zeros)

  @jax.jit
  def measure(variables, batch):
    def update(stats):
      return train_forward({**variables, 'batch_stats': stats}, batch)

    new, slope = jax.jvp(lambda s: update(s)['batch_stats'], (zeros,), (ones,))
    return new, slope

  totals = {path: _Total() for path in layers}
  weights = None if weights is None else iter(weights)
  for batch in batches:
    weight = (
      len(jax.tree.leaves(batch)[0]) if weights is None else next(weights)
    )
    new, slope = jax.device_get(measure(variables, batch))
    for path, total in totals.items():
      found, by = _at(new, path), _at(slope, path)
      total.add(weight, *(_batchs(found[n], by[n]) for n in _STATISTICS))
  return _with(old, totals)


def _batchs(new, slope):
  """The batch's statistic v from new = (1 - momentum) v, or None if it is lost.

  The slope is momentum in float32, but 1 - momentum was taken before it was
  rounded: its shortest decimal, 0.99, is what the user wrote.
  """
  slope = np.asarray(slope, np.result_type(slope, np.float32)).real
  kept = np.array([1 - float(str(s)) for s in slope.ravel()])
  if (kept == 0).any():
    return None
  new = np.asarray(new, np.result_type(new, np.float64))
  return new / kept.reshape(new.shape)


class _Total:
  """Mean and variance of what was added, merged batch by batch in float64."""

  def __init__(self):
    self.weight, self.mean, self.var = 0, None, None

  def add(self, weight, mean, var):
    if mean is None or var is None or weight == 0:
      return
    if self.mean is None:
      self.mean, self.var = np.zeros_like(mean), np.zeros_like(var)
    self.weight += weight
    part = weight / self.weight
    step = mean - self.mean
    self.mean = self.mean + part * step
    gap = part * (1 - part) * np.abs(step) ** 2
    self.var = (1 - part) * self.var + part * var + gap


def _layers(tree, path=()):
  """Paths of the dicts that hold both statistics."""
  found = []
  if all(hasattr(tree.get(n), 'dtype') for n in _STATISTICS):
    found.append(path)
  for name, child in tree.items():
    if hasattr(child, 'items'):
      found += _layers(child, (*path, name))
  if not found and not path:
    raise UserError('batch_stats: no layer with mean and var in it')
  return found


def _at(tree, path):
  for name in path:
    tree = tree[name]
  return tree


def _map_statistics(f, tree):
  def one(path, leaf):
    return f(leaf) if getattr(path[-1], 'key', None) in _STATISTICS else leaf

  return jax.tree_util.tree_map_with_path(one, tree)


def _with(old, totals):
  if not any(t.weight for t in totals.values()):
    raise UserError('batches: none was given; allowed is one or more')

  def one(path, leaf):
    *layer, name = (k.key for k in path)
    total = totals.get(tuple(layer))
    if name not in _STATISTICS or total is None or total.mean is None:
      return leaf
    return jax.numpy.asarray(getattr(total, name), leaf.dtype)

  return jax.tree_util.tree_map_with_path(one, old)
