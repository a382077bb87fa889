import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bn_jax.data import augment


@pytest.fixture(scope='module')
def image():
  return np.random.default_rng(0).integers(1, 256, (6, 5, 3), dtype=np.uint8)


def crops(image, pad):
  """Every crop and its mirror image, by NumPy: {bytes: (top, left, flip)}."""
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  height, width = image.shape[:2]
  found = {}
  for top in range(2 * pad + 1):
    for left in range(2 * pad + 1):
      crop = padded[top : top + height, left : left + width]
      found[crop.tobytes()] = top, left, False
      found[crop[:, ::-1].tobytes()] = top, left, True
  return found


@pytest.mark.parametrize('pad', [0, 2])
def test_every_crop_and_flip_comes_up_equally_often(image, pad):
  known = crops(image, pad)
  num = 400 * len(known)
  keys = jax.random.split(jax.random.key(1), num)
  got = jax.jit(
    jax.vmap(augment.crop_and_flip, (0, None, None)), static_argnums=2
  )(keys, image, pad)
  assert got.dtype == jnp.uint8 and got.shape == (num, *image.shape)
  counts = dict.fromkeys(known.values(), 0)
  for one in np.asarray(got):
    counts[known[one.tobytes()]] += 1
  # 400 expected of each, standard deviation 20.
  assert min(counts.values()) > 300 and max(counts.values()) < 500


def test_pad_is_4_by_default(image):
  known = crops(image, 4)
  keys = jax.random.split(jax.random.key(0), 500)
  got = np.asarray(jax.vmap(augment.crop_and_flip, (0, None))(keys, image))
  shifts = np.array([known[one.tobytes()][:2] for one in got])
  assert shifts.min() == 0 and shifts.max() == 8


def test_an_example_has_a_key_of_its_own(image):
  batch = np.stack([image] * 64)
  key = jax.random.key(0)
  first = augment.crop_and_flip_batch(key, 0, batch)
  assert len({one.tobytes() for one in np.asarray(first)}) > 30
  again = augment.crop_and_flip_batch(key, 0, batch)
  np.testing.assert_array_equal(first, again)
  for other in (
    augment.crop_and_flip_batch(key, 1, batch),
    augment.crop_and_flip_batch(jax.random.key(1), 0, batch),
  ):
    same = [(a == b).all() for a, b in zip(first, other, strict=True)]
    assert sum(same) < 10


def test_a_device_draws_what_one_device_would_have_drawn(image):
  batch = np.stack([image] * 8)
  key = jax.random.key(0)
  whole = augment.crop_and_flip_batch(key, 5, batch)
  part = augment.crop_and_flip_batch(key, 5, batch[4:], jnp.arange(4, 8))
  np.testing.assert_array_equal(part, whole[4:])


def test_one_by_one_is_the_batch(image):
  key = jax.random.key(0)
  batch = augment.crop_and_flip_batch(key, 7, np.stack([image] * 4), pad=1)
  for i in range(4):
    own = jax.random.fold_in(jax.random.fold_in(key, 7), i)
    one = augment.crop_and_flip(own, image, 1)
    np.testing.assert_array_equal(one, batch[i])


def test_members_and_steps_may_be_traced(image):
  batch = np.stack([image] * 4)
  run = jax.jit(augment.crop_and_flip_batch)
  keys = jax.random.split(jax.random.key(0), 3)
  members = jax.vmap(run, (0, None, None))(keys, jnp.int32(2), batch)
  for i in range(3):
    single = augment.crop_and_flip_batch(keys[i], 2, batch)
    np.testing.assert_array_equal(members[i], single)
