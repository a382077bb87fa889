"""The places where a model might normalize, and what is measured there."""

from collections.abc import Callable

import flax.linen as nn
import jax
from flax import struct

from bn_jax import functional


class Site(nn.Module):
  """A place where a network might normalize its units.

  Every model calls one wherever normalization could stand, under every
  strategy, `none` included, so that statistics compare like with like. It
  tells what arrives (`input`) and what leaves (`output`); the module inside
  tells the tensor between its normalization and its scale and bias
  (`normalized`) where these differ.
  """

  norm: Callable

  @nn.compact
  def __call__(self, x, *, train: bool, mask=None):
    """Maps (batch, ..., features) to the same shape; `mask` is (batch,)."""
    mask = None if mask is None else expand(mask, x)
    self.sow('intermediates', 'input', x)
    x = self.arrived(x, mask)
    y = self.norm(name='norm')(x, not train, mask=mask)
    self.sow('intermediates', 'output', y)
    return y

  def arrived(self, x, mask):
    """Returns `x`: a seam where a forward pass may ask `what if?`."""
    del mask
    return x


def expand(mask, x):
  """Gives a mask (batch,) as many axes of size 1 as `x` has more."""
  return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))


class SiteValues(struct.PyTreeNode):
  """The tensors at a site in one forward pass, each (batch, ..., features)."""

  input: jax.Array
  """What arrives from the layer below."""
  normalized: jax.Array
  """After the normalization, before its scale and bias."""
  output: jax.Array
  """What leaves for the layer above."""
  mask: jax.Array | None = None
  """(batch, 1, ...), true where an example counts."""
  axis_name: str | None = struct.field(pytree_node=False, default=None)
  """The mapped axis over which the batch is split, if it is."""

  def moments(self, which: str = 'normalized') -> functional.Moments:
    """Each unit's mean and variance over the batch, (features,) in float32."""
    return functional.moments(
      getattr(self, which), mask=self.mask, axis_name=self.axis_name
    )


class SiteInfo(struct.PyTreeNode):
  """What is known of a site before anything runs."""

  path: str = struct.field(pytree_node=False)
  """The site's module, such as `site_0`."""
  feeder: str | None = struct.field(pytree_node=False)
  """The linear layer whose output is the site's input, if there is one."""
  shape: tuple[int, ...] = struct.field(pytree_node=False)
  """Of one example at the site, without the batch axis."""


def survey(model: nn.Module, example) -> tuple[SiteInfo, ...]:
  """Lists a model's sites in the order in which the forward pass meets them.

  Args:
    model: Called as `model(x, train=)`.
    example: Shape and dtype of a batch.

  Returns:
    One entry a site. Its feeder is found by following the tensor itself, so
    a model need not declare what lies before a site.
  """
  found, producers, alive = [], {}, []

  def watch(call, args, kwargs, context):
    if context.method_name != '__call__':
      return call(*args, **kwargs)
    path = '/'.join(context.module.path)
    if isinstance(context.module, Site):
      x = args[0]
      found.append(SiteInfo(path, producers.get(id(x)), x.shape[1:]))
    y = call(*args, **kwargs)
    if context.module.has_variable('params', 'kernel'):
      producers[id(y)] = path
      alive.append(y)  # an id is only unique among living objects
    return y

  def initialize(x):
    with nn.intercept_methods(watch):
      return model.init(jax.random.key(0), x, train=False)

  jax.eval_shape(initialize, example)
  return tuple(found)


def collect(intermediates, sites, mask=None, axis_name=None):
  """Reads what the sites have sown into a dict path -> SiteValues.

  The order is that of the forward pass. Where the module at a site sows no
  `normalized`, its output stands for it.
  """
  values = {}
  for site in sites:
    sown = intermediates
    for name in site.path.split('/'):
      sown = sown[name]
    (x,), (y,) = sown['input'], sown['output']
    (normalized,) = sown.get('norm', {}).get('normalized', (y,))
    m = None if mask is None else expand(mask, x)
    values[site.path] = SiteValues(x, normalized, y, m, axis_name)
  return values
