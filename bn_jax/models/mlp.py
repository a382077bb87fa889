"""A multilayer perceptron."""

import flax.linen as nn

from bn_jax.errors import pick
from bn_jax.layers.layers import Layers
from bn_jax.layers.site import Site
from bn_jax.models._fields import SITES, activation, kernel_init


class MLP(nn.Module):
  """`depth` hidden layers of `width` units and a linear layer of logits.

  A hidden layer computes act(XW + b). Its site stands behind XW + b
  (`pre_activation`), behind act (`post_activation`), or before W (`input`).
  """

  layers: Layers
  num_classes: int
  depth: int = 6
  width: int = 100
  activation: str = 'sigmoid'
  site: str = 'pre_activation'
  kernel_init: str = 'lecun_normal'
  kernel_stddev: float = 0.05

  @nn.compact
  def __call__(self, x, *, train: bool, mask=None):
    """Maps (batch, ...) to logits (batch, num_classes)."""
    where = pick('model.site', self.site, SITES)
    act = activation(self.activation)
    init = kernel_init(self.kernel_init, self.kernel_stddev)
    redundant = where == 'pre_activation' and self.layers.redundant_bias

    def site(number, x):
      module = Site(self.layers.norm, name=f'site_{number}')
      return module(x, train=train, mask=mask)

    def dense(features, name, use_bias=True):
      return self.layers.dense(
        features,
        use_bias=use_bias,
        kernel_init=init,
        dtype=self.layers.dtype,
        name=name,
      )

    x = x.reshape(x.shape[0], -1)
    for i in range(self.depth):
      x = site(i, x) if where == 'input' else x
      x = dense(self.width, f'dense_{i}', use_bias=not redundant)(x)
      x = site(i, x) if where == 'pre_activation' else x
      x = act(x)
      x = site(i, x) if where == 'post_activation' else x
    return dense(self.num_classes, 'head')(x)


MODEL = MLP
