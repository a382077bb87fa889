"""What enters and what leaves each linear layer?"""

import flax.linen as nn


def linear_values(model, variables, image, *, train: bool) -> dict:
  """The inputs X and outputs XW + b of a model's dense layers.

  Args:
    model: Called as `model(x, train=)`.
    variables: Its params and batch_stats.
    image: (batch, ...), standardized.
    train: Whether sites normalize with the batch's own statistics.

  Returns:
    {path: (X, XW + b)}, bottom-up, (batch, units) each.
  """
  found = {}

  def watch(call, args, kwargs, context):
    y = call(*args, **kwargs)
    if isinstance(context.module, nn.Dense):
      found['/'.join(context.module.path)] = (args[0], y)
    return y

  with nn.intercept_methods(watch):
    model.apply(
      variables, image, train=train, mutable=['batch_stats', 'intermediates']
    )
  return found
