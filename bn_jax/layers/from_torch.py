"""BatchNorm's variables from PyTorch's."""

import jax.numpy as jnp
import numpy as np

from bn_jax.errors import UserError

_FROM_TORCH = {
  'weight': ('params', 'scale'),
  'bias': ('params', 'bias'),
  'running_mean': ('batch_stats', 'mean'),
  'running_var': ('batch_stats', 'var'),
}


def from_torch(state_dict, prefix=''):
  """A layer's variables from PyTorch's arrays.

  To train on as PyTorch would, the layer is `BatchNorm(momentum=1 -
  torch_momentum, epsilon=eps, unbiased=True)`: PyTorch's momentum weighs the
  new batch, where this one weighs the old average, and its running variance
  divides by n - 1. (With momentum=None in PyTorch, average='cumulative'.)

  Args:
    state_dict: a mapping of names to tensors or arrays, each (C,).
    prefix: what stands before `weight`, `bias`, `running_mean`, `running_var`,
      such as 'layer1.0.bn1.'.

  Returns:
    {'params': {'scale', 'bias'}, 'batch_stats': {'mean', 'var'}}, of (C,);
    without 'params' if the layer was made with affine=False.

  Raises:
    UserError: there are no running statistics under the prefix.
  """
  found = {}
  for name, (collection, ours) in _FROM_TORCH.items():
    if f'{prefix}{name}' in state_dict:
      value = state_dict[f'{prefix}{name}']
      value = value.detach().cpu() if hasattr(value, 'detach') else value
      found.setdefault(collection, {})[ours] = jnp.asarray(np.asarray(value))
  if set(found.get('batch_stats', ())) != {'mean', 'var'}:
    raise UserError(
      f'state_dict: no {prefix}running_mean and {prefix}running_var; '
      f'it has {", ".join(state_dict) or "nothing"}'
    )
  return found
