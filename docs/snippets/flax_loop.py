"""A plain Flax training loop with bn_jax.BatchNorm.

The ten lines between the marks are those of the README.
"""
# ruff: noqa: D103

import jax
from flax import linen as nn
from jax import random

from bn_jax import BatchNorm


def network(train):
  norm = BatchNorm(use_running_average=not train, momentum=0.9)
  return nn.Sequential([nn.Dense(100), norm, nn.relu, nn.Dense(1)])


x = random.normal(random.key(0), (500, 4))
y = x[:, :1] * x[:, 1:2]
net = network(train=True)
state = net.init(random.key(1), x)


# [begin]
@jax.jit
def step(state, x, y):
  def loss(params):
    out, new = net.apply({**state, 'params': params}, x, mutable='batch_stats')
    return ((out - y) ** 2).mean(), new

  grads, new = jax.grad(loss, has_aux=True)(state['params'])
  params = jax.tree.map(lambda p, g: p - 0.1 * g, state['params'], grads)
  return {'params': params, **new}


for _ in range(300):
  state = step(state, x, y)
# [end]

error = ((network(train=False).apply(state, x) - y) ** 2).mean()
