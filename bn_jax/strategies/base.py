"""What a strategy is: a name for up to five places where it may act."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from bn_jax.errors import UserError


def same_layers(layers):
  """The `layers` of a strategy that changes no module."""
  return layers


def same_variables(variables, forward):
  """The `initialize` of a strategy that starts where the model does."""
  del forward
  return variables


def no_penalty(params, sites):
  """The `penalty` of a strategy that adds nothing to the loss."""
  del params, sites
  return 0.0


def no_edit(state, forward):
  """The `post_step` of a strategy that leaves the optimizer's step alone."""
  del forward
  return state


class Strategy(NamedTuple):
  """A way to keep hidden units normalized. Every place is a no-op by default.

  What must hold of the parameters after a step is a `post_step`; what only
  reshapes the gradient is a `gradient`.
  """

  layers: Callable[[Any], Any] = same_layers
  """Layers -> Layers: the modules that the model builds with."""
  initialize: Callable[[Any, Any], Any] = same_variables
  """(variables, forward) -> variables: an initialization rule."""
  penalty: Callable[[Any, Any], Any] = no_penalty
  """(params, sites) -> scalar: a term in the loss."""
  gradient: optax.GradientTransformation = optax.identity()
  """A reshaping of the gradient, before the optimizer sees it."""
  post_step: Callable[[Any, Any], Any] = no_edit
  """(state, forward) -> state: an edit after the optimizer's step.

  `forward(params, batch_stats, edit=None)` runs the model on the step's own
  batch and returns its `logits`, new `batch_stats` and `sites`; `edit`, a
  function (path, SiteValues) -> x, replaces what arrives at a site.
  `forward.sites` lists the sites bottom-up, with the linear layer that feeds
  each; `forward.key` is a random key of the step's own.
  """


def feeder(site, strategy: str) -> str:
  """The linear layer whose weights a strategy edits for a site.

  Args:
    site: A `layers.site.SiteInfo`.
    strategy: Its name, for the error.

  Raises:
    UserError: No layer feeds the site.
  """
  if site.feeder is None:
    raise UserError(
      f'strategy {strategy}: no linear layer feeds {site.path}, so there are '
      'no weights to edit; it needs every site right behind a dense or conv '
      'layer (model.site=pre_activation)'
    )
  return site.feeder


def chain(*strategies: Strategy) -> Strategy:
  """A strategy that acts as each of the given ones in turn."""
  edits = [s.post_step for s in strategies if s.post_step is not no_edit]
  starts = [
    s.initialize for s in strategies if s.initialize is not same_variables
  ]
  terms = [s.penalty for s in strategies if s.penalty is not no_penalty]

  def layers(built):
    for strategy in strategies:
      built = strategy.layers(built)
    return built

  def initialize(variables, forward):
    for start in starts:
      variables = start(variables, forward)
    return variables

  def penalty(params, sites):
    return sum(term(params, sites) for term in terms)

  def post_step(state, forward):
    for edit in edits:
      state = edit(state, forward)
    return state

  return Strategy(
    layers,
    initialize if starts else same_variables,
    penalty if terms else no_penalty,
    optax.chain(*(s.gradient for s in strategies)),
    post_step if edits else no_edit,
  )
