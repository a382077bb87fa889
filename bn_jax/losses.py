"""What a batch is scored by; examples that are padding count for nothing."""

import jax.numpy as jnp
import optax

from bn_jax import trees


def cross_entropy(logits, batch):
  """-log p(label) of each example in nats, (batch,); 0 where masked out."""
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, batch['label']
  )
  mask = batch.get('mask')
  return losses if mask is None else jnp.where(mask, losses, 0.0)


def correct(logits, batch):
  """1 where the largest logit is the label's, (batch,); 0 where masked out.

  What is not finite hits nothing, though `argmax` finds it the largest.
  """
  hits = jnp.argmax(logits, -1) == batch['label']
  hits &= jnp.all(jnp.isfinite(logits), -1)
  mask = batch.get('mask')
  return (hits if mask is None else hits & mask.astype(bool)).astype(
    jnp.float32
  )


def undone(updates, proposed, kept):
  """The share of the optimizer's change that an edit took back.

  -<edit, update> / |update|^2, the projection of the edit on the step: 1 if
  the edit restored the old parameters, 0 if it went at right angles or if
  nothing was proposed, as in the first step of a warm-up.
  """
  edit = trees.subtract(kept, proposed)
  size = trees.dot(updates, updates)
  share = -trees.dot(edit, updates) / jnp.where(size == 0, 1, size)
  return jnp.where(size == 0, 0, share)


def count_of(batch):
  """How many examples of a batch count, in float32."""
  mask = batch.get('mask')
  if mask is None:
    return jnp.float32(batch['label'].shape[0])
  return jnp.sum(mask.astype(jnp.float32))
