# ruff: noqa: D102 (base.Peer says what the methods do)
"""torch.nn.functional.batch_norm, eager, on the CPU."""

import ml_dtypes
import numpy as np
import torch

from experiments.conformance_suite.adapters import base


class Torch(base.Peer):
  """Tensors in, arrays out; features go to axis 1 as PyTorch has them."""

  name = 'torch'
  unbiased = True
  snippet = """\
import torch
y = torch.nn.functional.batch_norm(
  torch.tensor(x).movedim(-1, 1), None, None, training=True).movedim(1, -1)"""

  def version(self):
    return torch.__version__

  def transforms(self):
    raise base.NotSupported("JAX's transformations")

  def state(self, spec, scale, bias, mean=None, var=None):
    base.no(spec)
    wide = _tensor(scale)
    mean = torch.zeros_like(wide) if mean is None else _tensor(mean)
    var = torch.ones_like(wide) if var is None else _tensor(var)
    return wide, _tensor(bias), mean, var

  def _run(self, spec, state, x, training, mask=None):
    base.no(spec, mask)
    scale, bias, mean, var = state
    if x.is_complex():
      raise base.NotSupported('complex input')
    mean, var = mean.clone(), var.clone()
    y = torch.nn.functional.batch_norm(
      x.movedim(spec.axis, 1),
      mean,
      var,
      scale,
      bias,
      training,
      1 - spec.momentum,
      spec.epsilon,
    )
    return y.movedim(1, spec.axis), (scale, bias, mean, var)

  def train(self, spec, state, x, mask=None):
    with torch.no_grad():
      y, state = self._run(spec, state, _tensor(x), True, mask)
    return _array(y), state

  def evaluate(self, spec, state, x):
    with torch.no_grad():
      return _array(self._run(spec, state, _tensor(x), False)[0])

  def stats(self, spec, state):
    return _array(state[2]), _array(state[3])

  def gradients(self, spec, x, scale, bias, d, mask=None):
    inputs = [_tensor(a).requires_grad_() for a in (x, scale, bias)]
    mean, var = (
      f(inputs[1].detach()) for f in (torch.zeros_like, torch.ones_like)
    )
    state = (*inputs[1:], mean, var)
    y, _ = self._run(spec, state, inputs[0], True, mask)
    y.backward(_tensor(d).to(y.dtype))
    return _array(y.detach()), [_array(a.grad) for a in inputs]


def _tensor(x):
  if isinstance(x, torch.Tensor):
    return x
  x = np.asarray(x)
  if x.dtype == ml_dtypes.bfloat16:
    return torch.tensor(x.astype(np.float32)).to(torch.bfloat16)
  return torch.tensor(x)


def _array(x):
  if x.dtype == torch.bfloat16:
    return x.to(torch.float32).numpy().astype(ml_dtypes.bfloat16)
  return x.numpy()


PEER = Torch()
