"""Running statistics: averages of batch statistics over steps."""

import functools

import jax
import jax.numpy as jnp

AVERAGES = ('ema', 'debiased', 'cumulative')


def update_running(
  running, value, momentum, *, count=None, present=None, average='ema'
):
  """The running statistic after one more batch.

  'ema': momentum * running + (1 - momentum) * value.
  'debiased': that average without the weight of its initial value, as Adam
    corrects its moments (Kingma & Ba 2015, section 3).
  'cumulative': the plain mean of all batches so far.

  Args:
    running: the average so far, of the shape of the feature axes.
    value: the new batch's statistic, of the same shape.
    momentum: the decay, a number or a (traced) scalar in [0, 1].
    count: batches before this one, a scalar or of the shape of value; needed
      by all but 'ema'.
    present: booleans of the shape of value: where False the batch held
      nothing and running stays as it was.
    average: one of `AVERAGES`.

  Raises:
    ValueError: average is none of them, or needs a count and has none.
  """
  if average not in AVERAGES:
    raise ValueError(f'average: {average!r}; allowed are {AVERAGES}')
  if average != 'ema' and count is None:
    raise ValueError(
      f'count: None; {average!r} needs the number of batches before this one'
    )
  dtype = jnp.result_type(running, value)
  real = jnp.finfo(dtype).dtype
  if average == 'ema':
    decay, weight = jnp.asarray(momentum, real), jnp.asarray(1 - momentum, real)
  else:
    t = jnp.asarray(count, real) + 1
    weight = _weight(t, jnp.asarray(momentum, real), average)
    decay = 1 - weight
  new = decay * running + weight * value
  if present is not None:
    new = jnp.where(present, new, running)
  return new.astype(dtype)


# Jitted, so that a net's many equal sites trace it once.
@functools.partial(jax.jit, static_argnums=2, inline=True)
def _weight(t, momentum, average):
  """The weight of the t-th batch, t = 1, 2, ..."""
  if average == 'cumulative':
    return 1 / t
  # (1 - momentum) / (1 - momentum^t), and its limit 1/t at momentum 1.
  below = momentum < 1
  log = jnp.log(jnp.where(below, momentum, 0.5))
  weight = jnp.where(below, (1 - momentum) / -jnp.expm1(t * log), 1 / t)
  return jnp.where(t == 1, 1, weight)  # exactly: nothing of the start is left


def unbiased_variance(var, count):
  """var n / (n - 1), as PyTorch keeps it; 0 for n <= 1."""
  return var * (count / jnp.maximum(count - 1, 1))
