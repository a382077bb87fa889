"""A convolution whose gradient stays fast inside a loop on a CPU."""

import flax.linen as nn


class Conv(nn.Conv):
  """flax.linen.Conv: the same fields, parameters, initialization, results."""
