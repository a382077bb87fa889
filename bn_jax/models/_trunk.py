"""What convolutional models share: numbered convolutions and sites, pooling."""

from collections.abc import Callable
from typing import Any

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


_POOLS = {
  'max': lambda a, b: jnp.maximum(*map(jnp.maximum, a, b)),
  'average': lambda a, b: (sum(a) + sum(b)) / 4,
}


def pool(name: str, x):
  """Halves height and width over 2 x 2 windows; an odd last row falls away.

  The four corners are compared as arrays of their own: on a CPU that is ten
  times faster than XLA's windowed maximum with its gradient. Corners that tie
  share the gradient.
  """
  combine = pick('model.pooling', name, _POOLS)
  height, width = (2 * (size // 2) for size in x.shape[1:3])
  rows = [x[:, i:height:2] for i in (0, 1)]
  return combine(*[[r[:, :, j:width:2] for j in (0, 1)] for r in rows])
