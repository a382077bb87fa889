"""A bias before a subtraction of the mean: the textbook's toy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

TOY_STEPS = (0, 100, 500, 1000, 2000)


def descend_toy(seed, full):
  """The bias by step, with the gradient stopped and as `full` says."""
  random = np.random.default_rng(seed)
  u, t = random.normal(size=(2, 50))
  t = t + 3 * np.sign(random.normal())

  def loss(b, stop):
    mean = jnp.mean(u + b)
    mean = jax.lax.stop_gradient(mean) if stop in ('mean', 'both') else mean
    return jnp.mean((u + b - mean - t) ** 2) / 2

  @functools.partial(jax.jit, static_argnums=0)
  def descend(stop, steps):
    step = lambda _, b: b - 0.05 * jax.grad(loss)(b, stop)  # noqa: E731
    b = jax.lax.fori_loop(0, steps, step, jnp.zeros(()))
    return b, loss(b, stop)

  ends = [descend('mean', n) for n in TOY_STEPS]
  return {
    'stopped': [float(b) for b, _ in ends],
    'loss_change': abs(float(ends[-1][1] - ends[0][1])),
    'full': float(descend(full, TOY_STEPS[-1])[0]),
  }
