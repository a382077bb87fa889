"""What a model builds with: the factories that a strategy may rewrite."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from bn_jax.layers.affine import Identity
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
