"""What convolutional models share: numbered convolutions and sites, pooling."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bn_jax.errors import UserError, pick
from bn_jax.layers.layers import Layers
from bn_jax.layers.site import Site


class Trunk:
  """Makes a network's convolutions and sites, as conv_0, site_0, conv_1, ...

  Each is numbered in the order of the forward pass. Use it inside a compact
  method, whose module becomes the parent of what is made.
  """

  def __init__(
    self, layers: Layers, kernel_init: Callable, *, train: bool, mask: Any
  ):
    """Keeps what every call passes on."""
    self._layers, self._init = layers, kernel_init
    self._train, self._mask = train, mask
    self._num_convs = self._num_sites = 0

  def conv(self, x, features: int, size=3, stride=1, use_bias=True):
    """Convolves; an output pixel lies at the center of what it reads.

    Padding both sides alike keeps it there under a stride too, so that a
    branch and its subsampled shortcut show the same place.
    """
    module = self._layers.conv(
      features,
      (size, size),
      strides=stride,
      padding=size // 2,
      use_bias=use_bias,
      kernel_init=self._init,
      dtype=self._layers.dtype,
      name=f'conv_{self._num_convs}',
    )
    self._num_convs += 1
    return module(x)

  def site(self, x):
    """Passes the next site."""
    module = Site(self._layers.norm, name=f'site_{self._num_sites}')
    self._num_sites += 1
    return module(x, train=self._train, mask=self._mask)


def check_images(name: str, x) -> None:
  """Raises UserError unless `x` is (batch, height, width, channels)."""
  if x.ndim != 4:
    raise UserError(
      f'model.name: {name} takes images (height, width, channels); the '
      f'examples of data.name have shape {x.shape[1:]}'
    )


POOLS = ('max', 'average')


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def pool(name: str, x):
  """Halves height and width over 2 x 2 windows; an odd last row falls away.

  XLA's windowed maximum with its gradient is ten times slower on a CPU. Here
  corners are compared as arrays of their own, and the derivative is a product
  with weights, whose transpose is a broadcast: corners that tie share it.

  Args:
    name: 'max' or 'average'.
    x: (batch, height, width, channels).
  """
  pick('model.pooling', name, POOLS)
  a, b, c, d = _corners(x)
  if name == 'average':
    return (a + b + c + d) / 4
  return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


@pool.defjvp
def _pool_jvp(name, primals, tangents):
  (x,), (dx,) = primals, tangents
  y = pool(name, x)
  weights = 0.25
  if name == 'max':
    hits = sum((corner == y).astype(y.dtype) for corner in _corners(x))
    weights = (_windows(x) == _spread(y)) * _spread(1 / hits)
  return y, jnp.sum(weights * _windows(dx), axis=(2, 4))


def _corners(x):
  height, width = (2 * (size // 2) for size in x.shape[1:3])
  return [x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def _windows(x):
  """(batch, height / 2, 2, width / 2, 2, channels)."""
  batch, height, width, channels = x.shape
  height, width = height // 2, width // 2
  x = x[:, : 2 * height, : 2 * width]
  return x.reshape(batch, height, 2, width, 2, channels)


def _spread(y):
  return y[:, :, None, :, None]
