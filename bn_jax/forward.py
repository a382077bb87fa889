"""A model on one batch, as strategies see it."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bn_jax.layers.site import SiteInfo, SiteValues, collect


class Output(NamedTuple):
  """What a forward pass returns."""

  logits: jax.Array
  batch_stats: Any
  sites: dict[str, SiteValues]


class Forward:
  """A model on one batch, as strategies get it.

  Attributes:
    sites: Every site bottom-up, with the linear layer that feeds it.
    key: A random key of the step's own.
  """

  def __init__(self, model, batch, sites, key, axis_name=None):
    """Closes over the batch: `image`, and `mask` where examples are padding."""
    self.sites: tuple[SiteInfo, ...] = sites
    self.key = key
    self._model, self._axis_name = model, axis_name
    self._image, self._mask = batch['image'], batch.get('mask')

  def __call__(self, params, batch_stats, edit=None, train=True) -> Output:
    """Runs the model; what is not used of the result costs nothing.

    Args:
      params: Of the model.
      batch_stats: Running statistics.
      edit: (path, SiteValues) -> x replaces what arrives at a site. This is a
        question to the network (what if?), never part of it.
      train: Whether sites normalize with the batch's own statistics.
    """
    variables = {'params': params, 'batch_stats': batch_stats}

    def apply():
      return self._model.apply(
        variables,
        self._image,
        train=train,
        mask=self._mask,
        mutable=['batch_stats', 'intermediates'],
      )

    if edit is None:
      logits, new = apply()
    else:
      with nn.intercept_methods(self._editor(edit)):
        logits, new = apply()
    sites = collect(
      new.get('intermediates', {}), self.sites, self._mask, self._axis_name
    )
    stats = new.get('batch_stats', batch_stats)
    return Output(logits.astype(jnp.float32), stats, sites)

  def _editor(self, edit):
    def intercept(call, args, kwargs, context):
      if context.method_name != 'arrived':
        return call(*args, **kwargs)
      x, mask = args
      values = SiteValues(x, x, x, mask, self._axis_name)
      return edit('/'.join(context.module.path), values)

    return intercept
