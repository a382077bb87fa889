"""Random crops and flips on the device, in the step: pure functions of a key.

Padding by 4, cropping and mirroring is what He et al. (2015, arXiv
1512.03385, section 4.2) train their networks on CIFAR-10 with.
"""

import jax
import jax.numpy as jnp


def crop_and_flip(key: jax.Array, image: jax.Array, pad: int = 4) -> jax.Array:
  """Shifts an image by up to `pad` pixels and mirrors it half of the time.

  Args:
    key: of this example in this step; see `keys`.
    image: (height, width, channels) of any type, uint8 as it is stored.
    pad: pixels of 0 around the image, out of which it is cropped.

  Returns:
    An image of the same shape and type.
  """
  crop_key, flip_key = jax.random.split(key)
  height, width, channels = image.shape
  padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  top, left = jax.random.randint(crop_key, (2,), 0, 2 * pad + 1)
  crop = jax.lax.dynamic_slice(
    padded, (top, left, 0), (height, width, channels)
  )
  return jnp.where(jax.random.bernoulli(flip_key), crop[:, ::-1], crop)


def keys(key: jax.Array, step: jax.Array, positions: jax.Array) -> jax.Array:
  """Returns a key for each example of a batch: counter-based, no state.

  Args:
    key: of the run.
    step: of the batch.
    positions: (B,) of the examples in the whole batch, so that a device that
      has some of them draws what one device would have drawn for them.
  """
  of_step = jax.random.fold_in(key, step)
  return jax.vmap(jax.random.fold_in, (None, 0))(of_step, positions)


def crop_and_flip_batch(
  key: jax.Array,
  step: jax.Array,
  image: jax.Array,
  positions: jax.Array | None = None,
  pad: int = 4,
) -> jax.Array:
  """Crops and flips each image of a batch by itself.

  Args:
    key: of the run.
    step: of the batch.
    image: (B, height, width, channels).
    positions: (B,) in the whole batch; None is 0 to B - 1.
    pad: see `crop_and_flip`.
  """
  if positions is None:
    positions = jnp.arange(len(image))
  each = jax.vmap(crop_and_flip, (0, 0, None))
  return each(keys(key, step, positions), image, pad)
