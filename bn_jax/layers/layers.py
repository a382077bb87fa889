"""What a model builds with: the factories that a strategy may rewrite."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from bn_jax.errors import UserError
from bn_jax.layers.affine import Affine, Identity
from bn_jax.layers.conv import Conv


class Layers(NamedTuple):
  """The factories of a model's modules. Models and strategies meet here.

  A strategy's `layers` gets one of these and returns another, so factories can
  be wrapped: `layers._replace(dense=weight_normalized(layers.dense))`.
  """

  dense: Callable = nn.Dense
  """(features, use_bias=, kernel_init=, name=) -> module."""
  conv: Callable = Conv
  """(features, kernel_size, strides=, padding=, use_bias=, ...) -> module."""
  norm: Callable = Identity
  """(name=) -> the module at a site: (x, use_running_average, mask=) -> x."""
  join: Callable = operator.add
  """(shortcut, branch) -> how a residual branch meets its shortcut."""
  act: Callable = nn.sigmoid
  """The nonlinearity, an array function."""
  redundant_bias: bool = False
  """Whether `norm` takes away what a bias right before it adds."""
  dtype: Any = None
  """In which the modules compute; parameters and statistics stay float32."""
  axis_name: str | None = None
  """The mapped axis over which `norm` takes its statistics, if any."""

  def with_norm(self, norm: Callable, redundant_bias: bool = False) -> 'Layers':
    """These layers with a module that normalizes at the sites.

    Args:
      norm: As the field. A scale and bias that stood alone at the sites give
        way to those that it brings.
      redundant_bias: As the field.

    Raises:
      UserError: Where a module normalizes already: a site has room for one.
    """
    there = _class(self.norm)
    if there not in (Identity, Affine):
      raise UserError(
        f'strategies: {_class(norm).__name__} where {there.__name__} '
        'normalizes already; of a chain, one may put a module at the sites'
      )
    return self._replace(norm=norm, redundant_bias=redundant_bias)

  def with_affine(self) -> 'Layers':
    """These layers with a scale and bias at the sites, unless one is there."""
    if _class(self.norm) is not Identity:
      return self
    return self._replace(norm=functools.partial(Affine, dtype=self.dtype))


def _class(factory):
  """What a factory makes: the module behind any `functools.partial`."""
  while isinstance(factory, functools.partial):
    factory = factory.func
  return factory
