"""A plain convolutional network."""

import flax.linen as nn

from bn_jax.errors import UserError, pick
from bn_jax.layers.layers import Layers
from bn_jax.models._fields import SITES, activation, kernel_init
from bn_jax.models._trunk import Trunk, check_images, pool

HEADS = ('average', 'flatten')


class ConvNet(nn.Module):
  """Stages of 3 x 3 convolutions, a pooling after each, and logits.

  In the manner of VGG (Simonyan & Zisserman 2014, arXiv 1409.1556): stage i
  has `convs_per_stage` convolutions of `features[i]` channels. Its site stands
  behind a convolution (`pre_activation`), behind the nonlinearity
  (`post_activation`) or before the convolution (`input`).

  The head averages over all positions (`average`, with no pooling after the
  last stage) or reads them all (`flatten`).
  """

  layers: Layers
  num_classes: int
  features: tuple[int, ...] = (32, 64, 64)
  convs_per_stage: int = 1
  pooling: str = 'max'
  head: str = 'flatten'
  activation: str = 'relu'
  site: str = 'pre_activation'
  kernel_init: str = 'he_normal'
  kernel_stddev: float = 0.05

  @nn.compact
  def __call__(self, x, *, train: bool, mask=None):
    """Maps (batch, height, width, channels) to (batch, num_classes)."""
    where = pick('model.site', self.site, SITES)
    head = pick('model.head', self.head, HEADS)
    act = activation(self.activation)
    init = kernel_init(self.kernel_init, self.kernel_stddev)
    keep_bias = where != 'pre_activation' or not self.layers.redundant_bias
    check_images('convnet', x)
    self._check_size(x)
    trunk = Trunk(self.layers, init, train=train, mask=mask)

    for i, features in enumerate(self.features):
      for _ in range(self.convs_per_stage):
        x = trunk.site(x) if where == 'input' else x
        x = trunk.conv(x, features, use_bias=keep_bias)
        x = trunk.site(x) if where == 'pre_activation' else x
        x = act(x)
        x = trunk.site(x) if where == 'post_activation' else x
      if head == 'flatten' or i + 1 < len(self.features):
        x = pool(self.pooling, x)
    x = x.mean((1, 2)) if head == 'average' else x.reshape(x.shape[0], -1)
    dense = self.layers.dense(
      self.num_classes, kernel_init=init, dtype=self.layers.dtype, name='head'
    )
    return dense(x)

  def _check_size(self, x):
    halvings = len(self.features) - (self.head == 'average')
    allowed = min(x.shape[1:3]).bit_length() - 1
    if halvings > allowed:
      raise UserError(
        f'model.features: {len(self.features)} stages halve images of '
        f'{x.shape[1]} x {x.shape[2]} {halvings} times; at most {allowed}'
      )


MODEL = ConvNet
