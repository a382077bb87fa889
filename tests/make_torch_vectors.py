"""Writes data/torch_batch_norm.npz: what PyTorch's BatchNorm answers.

Needs torch==2.13.0, which nothing else here does; run it where that is
installed, from the root of the checkout: python tests/make_torch_vectors.py
"""

import pathlib

import numpy as np
import torch

PATH = pathlib.Path(__file__).parent / 'data' / 'torch_batch_norm.npz'
CASES = {  # name: shape with channels second, constructor's arguments
  'dense': ((12, 5), {}),
  'series': ((4, 3, 7), {'eps': 1e-2, 'momentum': 0.3}),
  'image': ((3, 4, 5, 2), {}),
  'cumulative': ((12, 5), {'momentum': None}),
  'plain': ((12, 5), {'affine': False}),
  'wide': ((12, 5), {'dtype': torch.float64}),
}
STEPS = 3


def vectors(shape, options, generator):
  """Three training steps and an evaluation; channels last, as here."""
  layers = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d}
  layer = layers.get(len(shape), torch.nn.BatchNorm2d)(shape[1], **options)
  dtype = options.get('dtype', torch.float32)

  def draw(*size, dtype=dtype):
    return torch.randn(*size, generator=generator, dtype=dtype)

  if layer.affine:
    with torch.no_grad():
      layer.weight += 0.5 * draw(shape[1])
      layer.bias += draw(shape[1])
  out = {k: v.numpy().copy() for k, v in layer.state_dict().items()}
  out = {f'initial/{k}': v for k, v in out.items()}
  for i in range(STEPS):
    x = (draw(*shape) * 2 + 3 + i).requires_grad_()
    d = draw(*shape)
    layer.zero_grad()
    y = layer(x)
    y.backward(d)
    tensors = {'x': x, 'd': d, 'y': y, 'dx': x.grad}
    for name, t in tensors.items():
      out[f'{i}/{name}'] = t.detach().movedim(1, -1).contiguous().numpy()
    if layer.affine:
      out[f'{i}/dscale'] = layer.weight.grad.numpy().copy()
      out[f'{i}/dbias'] = layer.bias.grad.numpy().copy()
    for name, t in layer.state_dict().items():
      out[f'{i}/{name}'] = t.numpy().copy()
  layer.eval()
  out['y_eval'] = layer(x).detach().movedim(1, -1).contiguous().numpy()
  return out


def main():
  """Writes the file."""
  generator = torch.Generator().manual_seed(0)
  arrays = {'version': np.array(torch.__version__)}
  for name, (shape, options) in CASES.items():
    for key, value in vectors(shape, options, generator).items():
      arrays[f'{name}/{key}'] = value
  PATH.parent.mkdir(exist_ok=True)
  np.savez_compressed(PATH, **arrays)
  print(f'{PATH}: {len(arrays)} arrays, torch {torch.__version__}')


if __name__ == '__main__':
  main()
