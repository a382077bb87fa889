"""The residual networks of the CIFAR experiments, 6n + 2 layers deep."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from bn_jax.errors import UserError, pick
from bn_jax.layers.layers import Layers
from bn_jax.models._fields import activation, kernel_init
from bn_jax.models._trunk import Trunk, check_images

BLOCKS = ('post_activation', 'pre_activation')
SHORTCUTS = ('pad', 'projection')


class ResNet(nn.Module):
  """A convolution, three stages of n blocks of two convolutions, and logits.

  The stages have `width`, 2 `width` and 4 `width` channels; the second and
  third start with a stride of 2. With batch normalization at the sites,
  images of 3 channels and 10 classes, depth 20 has 269,722 parameters.

  `block` says where a block's sites stand:
    post_activation: act(x + site(conv(act(site(conv(x)))))); He et al. 2015,
      arXiv 1512.03385, section 4.2.
    pre_activation: x + conv(act(site(conv(act(site(x)))))), and a site and
      act behind the last block. The first block of a stage hands act(site(x))
      to its shortcut as well; He et al. 2016, arXiv 1603.05027, appendix.
      Its sites read sums, which no layer feeds: a strategy that edits the
      layer before a site refuses.

  `shortcut` says how the shortcut of a block that changes the shape does:
    pad: every second pixel, and zeros for the new channels: no parameters,
      the paper's option A and its choice on CIFAR.
    projection: a 1 x 1 convolution, the paper's option B; with a site behind
      it in `post_activation` blocks.
  """

  layers: Layers
  num_classes: int
  depth: int = 20
  width: int = 16
  block: str = 'post_activation'
  shortcut: str = 'pad'
  activation: str = 'relu'
  kernel_init: str = 'he_normal'
  kernel_stddev: float = 0.05

  @nn.compact
  def __call__(self, x, *, train: bool, mask=None):
    """Maps (batch, height, width, channels) to (batch, num_classes)."""
    pick('model.block', self.block, BLOCKS)
    pick('model.shortcut', self.shortcut, SHORTCUTS)
    if self.depth < 8 or self.depth % 6 != 2:
      raise UserError(f'model.depth: {self.depth}; allowed are 8, 14, 20, ...')
    check_images('resnet', x)
    init = kernel_init(self.kernel_init, self.kernel_stddev)
    trunk = Trunk(self.layers, init, train=train, mask=mask)
    post = self.block == 'post_activation'
    run = self._post if post else self._pre

    x = self._conv(trunk, x, self.width)
    x = self._unit(trunk, x) if post else x
    for stage in range(3):
      for block in range(self.depth // 6):
        stride = 2 if stage and not block else 1
        x = run(trunk, x, self.width * 2**stage, stride, first=not block)
    x = x if post else self._unit(trunk, x)
    dense = self.layers.dense(
      self.num_classes, kernel_init=init, dtype=self.layers.dtype, name='head'
    )
    return dense(x.mean((1, 2)))

  def _post(self, trunk, x, features, stride, first):
    del first
    shortcut = self._shortcut(trunk, x, features, stride)
    if self._projects(x, features):
      shortcut = trunk.site(shortcut)
    x = self._unit(trunk, self._conv(trunk, x, features, stride=stride))
    x = trunk.site(self._conv(trunk, x, features))
    return self._act(self.layers.join(shortcut, x))

  def _pre(self, trunk, x, features, stride, first):
    active = self._unit(trunk, x)
    shortcut = self._shortcut(trunk, active if first else x, features, stride)
    x = self._conv(trunk, active, features, stride=stride)
    x = self._conv(trunk, self._unit(trunk, x), features)
    return self.layers.join(shortcut, x)

  def _conv(self, trunk, x, features, **options):
    # Every sum of convolutions and shortcuts is read by sites alone, so a
    # constant that a bias adds to a channel reaches a site unchanged.
    use_bias = not self.layers.redundant_bias
    return trunk.conv(x, features, use_bias=use_bias, **options)

  def _unit(self, trunk, x):
    return self._act(trunk.site(x))

  @functools.cached_property
  def _act(self):
    return activation(self.activation)

  def _projects(self, x, features):
    return self.shortcut == 'projection' and x.shape[-1] != features

  def _shortcut(self, trunk, x, features, stride):
    if self._projects(x, features):
      return self._conv(trunk, x, features, size=1, stride=stride)
    more = features - x.shape[-1]
    return jnp.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(0, more)])


MODEL = ResNet
