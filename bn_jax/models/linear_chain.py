"""A deep linear network: the textbook's chain y = x w_1 w_2 ... w_l."""

import flax.linen as nn

from bn_jax.layers.layers import Layers
from bn_jax.layers.site import Site
from bn_jax.models._fields import kernel_init


class LinearChain(nn.Module):
  """`depth` linear layers of `width` units, a site behind each, and a head.

  With `width` 1 and no bias it is the scalar chain of Goodfellow, Bengio and
  Courville, Deep Learning, section 8.7.1.
  """

  layers: Layers
  num_classes: int
  depth: int = 6
  width: int = 1
  use_bias: bool = False
  kernel_init: str = 'lecun_normal'
  kernel_stddev: float = 1.0

  @nn.compact
  def __call__(self, x, *, train: bool, mask=None):
    """Maps (batch, ...) to (batch, num_classes)."""
    init = kernel_init(self.kernel_init, self.kernel_stddev)

    def dense(features, name, use_bias):
      return self.layers.dense(
        features,
        use_bias=use_bias,
        kernel_init=init,
        dtype=self.layers.dtype,
        name=name,
      )

    keep_bias = self.use_bias and not self.layers.redundant_bias
    x = x.reshape(x.shape[0], -1)
    for i in range(self.depth):
      x = dense(self.width, f'dense_{i}', keep_bias)(x)
      site = Site(self.layers.norm, name=f'site_{i}')
      x = site(x, train=train, mask=mask)
    return dense(self.num_classes, 'head', self.use_bias)(x)


MODEL = LinearChain
