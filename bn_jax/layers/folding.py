"""BatchNorm folded into the layer before it, for inference."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from bn_jax.errors import UserError


class Pair(NamedTuple):
  """A normalization, and the dense or convolution layer that feeds it."""

  linear: tuple[str, ...]
  """The layer's path in 'params'."""
  norm: tuple[str, ...]
  """The normalization's path in 'params' and 'batch_stats'."""
  epsilon: float = 1e-5


def find_pairs(model, variables, *args, **kwargs):
  """Which normalization stands right behind which dense or convolution layer.

  Args:
    model: a flax.linen module.
    variables: its variables.
    *args: what it is called with in evaluation mode.
    **kwargs: likewise, but static.

  Returns:
    A tuple of `Pair`, in the order of the forward pass: each BatchNorm
    (bn_jax's or Flax's, over the last axis) whose input is the very output of
    a module with a `kernel`, which nothing else reads.
  """
  pairs = _adjacent(model, variables, *args, **kwargs)

  def alone(*pairs):
    return _alone(pairs, model, variables, *args, **kwargs)

  return tuple(pairs if alone(*pairs) else filter(alone, pairs))


def _adjacent(model, variables, *args, **kwargs):
  made, pairs, alive = {}, [], []

  def watch(call, args, kwargs, context):
    module = context.module
    if context.method_name == '__call__' and _is_norm(module):
      linear = made.get(id(args[0]))
      if linear is not None and module.axis in (-1, args[0].ndim - 1):
        pairs.append(Pair(linear, module.path, module.epsilon))
    out = call(*args, **kwargs)
    if context.method_name == '__call__' and _is_linear(module):
      alive.append(out)  # an id is only unique among living objects
      made[id(out)] = module.path
    return out

  def run(variables, *args):
    with nn.intercept_methods(watch):
      return model.apply(variables, *args, **kwargs)

  jax.eval_shape(run, variables, *args)
  return pairs


def _alone(pairs, model, variables, *args, **kwargs):
  """Whether only the normalizations read their layers' outputs.

  NaN goes into the normalization and 0 comes out: does any arrive at the end?
  """
  linear, norm = ({p[i] for p in pairs} for i in (0, 1))

  def poison(call, args, kwargs, context):
    out = call(*args, **kwargs)
    if context.method_name == '__call__':
      if context.module.path in linear:
        return jnp.full_like(out, jnp.nan)
      if context.module.path in norm:
        return jnp.zeros_like(out)
    return out

  def run(variables, *args):
    with nn.intercept_methods(poison):
      return model.apply(variables, *args, **kwargs)

  out = jax.jit(run)(variables, *args)
  return not any(jnp.isnan(a).any() for a in jax.tree.leaves(out))


def _is_norm(module):
  return {'momentum', 'epsilon', 'use_running_average'} <= set(
    module.__dataclass_fields__
  ) and module.has_variable('batch_stats', 'mean')


def _is_linear(module):
  return module.has_variable('params', 'kernel')


def fold_batch_norm(params, batch_stats, pairs=None, *, epsilon=1e-5):
  """Folds each BatchNorm's inference into the layer before it.

  kernel <- kernel f and bias <- (bias - mean) f + norm's bias, with f = scale /
  sqrt(var + epsilon): for export, and for a network without normalization.

  Args:
    params: the model's 'params'; kernels have their output features last.
    batch_stats: its 'batch_stats'.
    pairs: a sequence of `Pair`, as `find_pairs` gives it. By default each
      layer's is found by name, module by module: the kernels, or those of one
      kind (Conv_0, Conv_1), must be as many as the normalizations, and the
      two are matched in the order of the numbers that end their names. What
      else has a kernel there, such as a head, must have another width than
      every normalization: else it is ambiguous. `epsilon` is every layer's.
    epsilon: where pairs is not given.

  Returns:
    params and batch_stats without the normalizations that were folded; each
    folded layer has a `bias`. They suit the same model with the normalizations
    left out and biases put in.

  Raises:
    UserError: the layers cannot be matched by name, or could be in more ways
      than one, or a kernel does not fit.
  """
  if pairs is None:
    pairs = _pairs_by_name(params, batch_stats, epsilon)
  params, batch_stats = _copy(params), _copy(batch_stats)
  for pair in pairs:
    linear = _at(params, pair.linear)
    norm, stats = _at(params, pair.norm), _at(batch_stats, pair.norm)
    linear.update(_folded(linear, norm, stats, pair))
    _remove(params, pair.norm)
    _remove(batch_stats, pair.norm)
  return params, batch_stats


def _folded(linear, norm, stats, pair):
  kernel, dtype = linear['kernel'], linear['kernel'].dtype
  factor = norm.get('scale', 1) / jnp.sqrt(stats['var'] + pair.epsilon)
  if kernel.shape[-1:] != factor.shape:
    raise UserError(
      f'{"/".join(pair.linear)}: kernel {kernel.shape}; the normalization '
      f'{"/".join(pair.norm)} allows {factor.shape[0]} features'
    )
  bias = (linear.get('bias', 0) - stats['mean']) * factor + norm.get('bias', 0)
  return {
    'kernel': (kernel * factor).astype(dtype),
    'bias': bias.astype(dtype),
  }


def _pairs_by_name(params, batch_stats, epsilon, path=()):
  kernels = [n for n, p in params.items() if 'kernel' in _keys(p)]
  norms = [n for n in batch_stats if 'var' in _keys(batch_stats[n])]
  pairs = []
  if norms:
    matched = _by_number(kernels, norms)
    if matched is None:
      matched = _by_kind(params, batch_stats, kernels, norms)
    if matched is None:
      raise UserError(
        f'pairs: {"/".join(path) or "the model"} holds {", ".join(kernels)} '
        f'and {", ".join(norms)}; give the pairs, as find_pairs finds them'
      )
    pairs = [Pair((*path, a), (*path, n), epsilon) for a, n in matched]
  for name, child in batch_stats.items():
    if name not in norms and name in params:
      pairs += _pairs_by_name(params[name], child, epsilon, (*path, name))
  return pairs


def _by_number(kernels, norms):
  """(kernel, normalization) of the same number, if none is left over."""
  linear = {_number(n): n for n in kernels}
  if len(linear) < len(kernels) or sorted(linear) != sorted(
    map(_number, norms)
  ):
    return None
  return [(linear[_number(n)], n) for n in norms]


def _number(name):
  return name.rpartition('_')[2] if '_' in name else ''


def _by_kind(params, batch_stats, kernels, norms):
  """(kernel, normalization) in order, if only one kind of kernel can be meant.

  A kernel of another kind that has the width of a normalization could be the
  one in front of it: then None.
  """
  norm_kinds = _kinds(norms)
  if len(norm_kinds) > 1:
    return None
  (norms,) = norm_kinds.values()
  widths = [jnp.shape(batch_stats[n]['var'])[-1:] for n in norms]
  width = {n: jnp.shape(params[n]['kernel'])[-1:] for n in kernels}
  able = [
    names
    for names in _kinds(kernels).values()
    if any(width[n] in widths for n in names)
  ]
  if len(able) != 1 or [width[n] for n in able[0]] != widths:
    return None
  return list(zip(able[0], norms, strict=True))


def _kinds(names):
  """{name without its number: the names, in the order of the numbers}."""
  kinds = {}
  for name in names:
    kind, number = re.fullmatch(r'(.*?)_?(\d*)', name, re.DOTALL).groups()
    kinds.setdefault(kind, []).append((int(number or -1), name))
  return {kind: [n for _, n in sorted(found)] for kind, found in kinds.items()}


def _keys(tree):
  return tree.keys() if hasattr(tree, 'keys') else ()


def _copy(tree):
  if not hasattr(tree, 'items'):
    return tree
  return {name: _copy(child) for name, child in tree.items()}


def _at(tree, path):
  for name in path:
    tree = tree.get(name, {})
  return tree


def _remove(tree, path):
  """Removes a subtree, and the dicts that it leaves empty."""
  *above, last = path
  parents = [tree]
  for name in above:
    parents.append(parents[-1].get(name, {}))
  parents[-1].pop(last, None)
  for name, parent in zip(reversed(above), reversed(parents[:-1]), strict=True):
    if not parent.get(name, True):
      parent.pop(name)
