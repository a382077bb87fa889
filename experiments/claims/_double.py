"""Networks in float64, for claims that are identities."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np

from bn_jax import models, strategies
from bn_jax.data import batch_indices
from bn_jax.forward import Forward
from bn_jax.layers.layers import Layers
from bn_jax.layers.site import survey
from bn_jax.losses import cross_entropy


@contextlib.contextmanager
def float64():
  """Arrays made inside are float64; nothing leaks out."""
  with jax.enable_x64(True):
    yield


def double(tree):
  """A copy whose arrays are float64; call it inside `float64`."""
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def build(chained, options, model='mlp', keep_bias=False, **fields):
  """A model under a strategy.

  Args:
    chained: A strategy's name.
    options: Its arguments.
    model: A model's name.
    keep_bias: Keep the biases that the strategy says are redundant.
    **fields: Of the model; `num_classes` is 10 unless given.
  """
  layers = strategies.build((chained,), {chained: options}).layers(Layers())
  if keep_bias:
    layers = layers._replace(redundant_bias=False)
  num_classes = fields.pop('num_classes', 10)
  options = models.defaults(model) | fields
  return models.build(model, options, layers, num_classes)


def batches(dataset, seed: int, count: int, size: int = 100):
  """Standardized training batches by seed, (count, size, ...) each."""
  part = dataset.train
  return examples(
    dataset, part, batch_indices(seed, 0, count, size, len(part.label))
  )


def examples(dataset, part, index=slice(None)):
  """Standardized examples of a part."""
  image = (part.image[index] - dataset.mean) / dataset.std
  return {'image': double(image), 'label': jnp.asarray(part.label[index])}


def start(model, seed, image):
  """Initial params and batch_stats."""
  made = model.init(jax.random.key(seed), image, train=False)
  return double(made['params']), double(made.get('batch_stats', {}))


def loss(model, params, stats, batch, train=True):
  """Mean cross-entropy, and (logits, new batch_stats)."""
  logits, new = model.apply(
    {'params': params, 'batch_stats': stats}, batch['image'], train=train,
    mutable=['batch_stats'],
  )  # fmt: skip
  value = jnp.mean(cross_entropy(logits, batch))
  return value, (logits, new.get('batch_stats', {}))


def site_means(model, params, stats, image):
  """The mean over the batch of each site's output, (sites, units)."""
  _, new = model.apply(
    {'params': params, 'batch_stats': stats}, image, train=True,
    mutable=['batch_stats', 'intermediates'],
  )  # fmt: skip
  seen = new['intermediates']
  sites = sorted(seen, key=lambda path: int(path.rpartition('_')[2]))
  return jnp.stack([jnp.mean(seen[path]['output'][0], 0) for path in sites])


def gradients(model, seed, batch):
  """Gradients at the start with respect to params and to each site's input.

  Returns:
    params, their gradients, {site: dL/dh}, {site: SiteValues}, and the sites.
  """
  image = batch['image']
  sites = survey(
    model, jax.ShapeDtypeStruct((2, *image.shape[1:]), image.dtype)
  )
  params, stats = start(model, seed, image)
  forward = Forward(model, batch, sites, jax.random.key(0))

  def objective(params, offsets):
    edit = lambda path, v: v.input + offsets[path]  # noqa: E731
    out = forward(params, stats, edit=edit)
    return jnp.mean(cross_entropy(out.logits, batch)), out.sites

  offsets = {s.path: jnp.zeros((len(image), *s.shape)) for s in sites}
  find = jax.grad(objective, (0, 1), has_aux=True)
  (g, d), values = find(params, offsets)
  return params, g, d, values, sites


def descend(model, rate, params, stats, batches, watch):
  """Gradient descent over batches.

  Args:
    model: Of `build`.
    rate: The learning rate.
    params: At the start.
    stats: Running statistics at the start.
    batches: (steps, size, ...).
    watch: (params, gradients) -> what to keep of a step.

  Returns:
    params, stats, losses (steps,) and what `watch` kept.
  """
  find = jax.value_and_grad(functools.partial(loss, model), has_aux=True)

  def step(carry, batch):
    (value, (_, stats)), g = find(*carry, batch)
    params = jax.tree.map(lambda p, d: p - rate * d, carry[0], g)
    return (params, stats), (value, watch(params, g))

  (params, stats), (losses, kept) = jax.lax.scan(step, (params, stats), batches)
  return params, stats, losses, kept


def numbers(tree):
  """Scalars and arrays as NumPy's, to take out of float64's scope."""
  return jax.tree.map(np.asarray, tree)
