"""How much of the optimizer's step did the strategy's edit undo?"""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bn_jax import trees


def share_undone(proposed, kept):
  """The share of a proposed change that was taken back.

  1 - <kept, proposed> / |proposed|^2: 0 if the change was kept, 1 if nothing
  of it was left along its own direction, more if it was reversed.

  Args:
    proposed: The change that the optimizer made, arrays of any shape.
    kept: The change that was left after the edit, of the same shape.
  """
  return 1 - jnp.vdot(kept, proposed) / jnp.vdot(proposed, proposed)


def shares_by_layer(old, proposed, kept) -> dict:
  """`share_undone` of each linear layer's kernel, {path: scalar}."""
  found = {}
  for path in trees.names(old):
    if trees.is_kernel(path):
      a, b, c = (trees.get(t, path) for t in (old, proposed, kept))
      found[path.rpartition('/')[0]] = share_undone(b - a, c - a)
  return found


def length(a, b):
  """|b - a| of two trees of parameters: the length of a step."""
  change = trees.subtract(b, a)
  return jnp.sqrt(trees.dot(change, change))


def cosine(a, b):
  """Whether two proposals point the same way: from -1 to 1; 0 if one is 0."""
  size = jnp.linalg.norm(a) * jnp.linalg.norm(b)
  return jnp.where(size > 0, jnp.vdot(a, b) / jnp.where(size > 0, size, 1), 0)


def shift_scale_share(old, new, feeders):
  """The share of a squared step that only shifts or scales units.

  For a unit with kernel W_j and bias b_j these are the directions W_j and
  b_j; what is left turns W_j.

  Args:
    old: Parameters before the step.
    new: Parameters after it.
    feeders: Paths of the linear layers that feed sites.
  """
  idle = total = 0.0
  for path in feeders:
    a, b = trees.get(old, path), trees.get(new, path)
    axes = tuple(range(a['kernel'].ndim - 1))
    step = b['kernel'] - a['kernel']
    along = jnp.sum(step * a['kernel'], axes) ** 2
    idle += jnp.sum(along / jnp.sum(a['kernel'] ** 2, axes))
    total += jnp.sum(step**2)
    if 'bias' in a:
      shift = jnp.sum((b['bias'] - a['bias']) ** 2)
      idle, total = idle + shift, total + shift
  return idle / total


def proposed_moments(program, old, new, batch):
  """How a step would change each unit's mean and log standard deviation.

  Args:
    program: Of `bn_jax.step.build`.
    old: The state before the step.
    new: The state after it.
    batch: That of the step.

  Returns:
    One array: at each site the change of the mean of what arrives, in the
    standard deviations that it had, and of the logarithm of these; 0 for a
    unit that does not vary.
  """

  def moments(state):
    sites = program.forward(state, batch).sites.values()
    return [values.moments('input') for values in sites]

  def change(a, b):
    alive = (a.var > 0) & (b.var > 0)
    var = jnp.where(alive, a.var, 1), jnp.where(alive, b.var, 1)
    shift = (b.mean - a.mean) / jnp.sqrt(var[0])
    return jnp.where(alive, shift, 0), jnp.log(var[1] / var[0]) / 2

  pairs = zip(moments(old), moments(new), strict=True)
  return ravel_pytree([change(a, b) for a, b in pairs])[0]


def successive_steps(program, plain, idle, state, batches, held_out) -> dict:
  """Takes steps and asks of each what the strategy's edit undid.

  An edit that normalizes on the step's own batch moves the parameters even
  where the optimizer does not. So a step is kept as far as it makes edited
  parameters differ from those that are edited without it.

  Args:
    program: Of the run, of `bn_jax.step.build`.
    plain: The same without the edit: its step is the optimizer's proposal.
    idle: The hparams under which the optimizer does not move.
    state: Where to start; what happens here does not come back.
    batches: Raw, (steps, size, ...) each.
    held_out: A raw batch on which the function is looked at.

  Returns:
    `parameters`, `function`: share undone; `layers`: of each linear layer;
    `proposed`, `kept`: lengths of the step; `net`: of the whole way, edit
    included; `idle`: share of the squared step that only shifts or scales
    units; all (steps, ...). `cosine` of successive proposals to change the
    units' moments, (steps - 1,).
  """
  feeders = [site.feeder for site in program.sites]

  def logits(state):
    return program.forward(state, held_out).logits

  def flat(a, b):
    return ravel_pytree(trees.subtract(b.params, a.params))[0]

  def step(old, batch):
    new, _ = plain.train_step(old, batch)
    net, _ = program.train_step(old, batch)
    base, _ = program.train_step(old.replace(hparams=idle), batch)
    # The edited step, put where the optimizer started.
    kept = trees.subtract(net.params, base.params)
    kept = jax.tree.map(jnp.add, old.params, kept)
    layers = shares_by_layer(old.params, new.params, kept)
    wanted, left = logits(new) - logits(old), logits(net) - logits(base)
    proposal = flat(old, new)
    return net, {
      'parameters': share_undone(proposal, flat(base, net)),
      'layers': jnp.stack(list(layers.values())),
      'function': share_undone(wanted, left),
      'proposed': length(old.params, new.params),
      'kept': length(base.params, net.params),
      'net': length(old.params, net.params),
      'idle': shift_scale_share(old.params, new.params, feeders),
      'moments': proposed_moments(program, old, new, batch),
    }

  _, found = jax.lax.scan(step, state, batches)
  moments = found.pop('moments')
  return found | {'cosine': jax.vmap(cosine)(moments[1:], moments[:-1])}
