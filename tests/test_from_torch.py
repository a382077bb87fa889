"""BatchNorm against PyTorch's, by vectors of make_torch_vectors.py."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bn_jax
from bn_jax.errors import UserError
from bn_jax.layers.from_torch import from_torch

VECTORS = np.load(pathlib.Path(__file__).parent / 'data/torch_batch_norm.npz')
TORCH_CASES = {
  'dense': {'momentum': 0.9},
  'series': {'momentum': 0.7, 'epsilon': 1e-2},
  'image': {'momentum': 0.9},
  'cumulative': {'average': 'cumulative'},
  'plain': {'momentum': 0.9, 'use_scale': False, 'use_bias': False},
  'wide': {'momentum': 0.9, 'param_dtype': jnp.float64},
}


@pytest.fixture
def wide(request):
  with jax.enable_x64('wide' in request.node.callspec.id):
    yield 1e-12 if 'wide' in request.node.callspec.id else 1e-5


@pytest.mark.parametrize('case', TORCH_CASES)
def test_training_and_evaluation_are_pytorchs(case, wide):
  data = {
    k.removeprefix(f'{case}/'): v
    for k, v in VECTORS.items()
    if k.startswith(f'{case}/')
  }
  layer = bn_jax.BatchNorm(unbiased=True, **TORCH_CASES[case])
  variables = from_torch(data, 'initial/')
  if layer.average != 'ema':
    stats = variables['batch_stats']
    stats['count'] = jnp.zeros_like(stats['mean'])

  def check(found, name):
    limit = wide * np.abs(data[name]).max()
    np.testing.assert_allclose(found, data[name], rtol=0, atol=limit)

  for i in range(3):
    stats = variables['batch_stats']

    def f(params, x, stats=stats):
      both = {'params': params, 'batch_stats': stats}
      return layer.apply(both, x, False, mutable=['batch_stats'])

    params = variables.get('params', {})
    y, pull, new = jax.vjp(f, params, jnp.asarray(data[f'{i}/x']), has_aux=True)
    gradients, dx = pull(jnp.asarray(data[f'{i}/d']))
    variables = {**variables, **new}
    check(y, f'{i}/y')
    check(dx, f'{i}/dx')
    for name, g in gradients.items():
      check(g, f'{i}/d{name}')
    for ours, theirs in [('mean', 'running_mean'), ('var', 'running_var')]:
      check(new['batch_stats'][ours], f'{i}/{theirs}')
  last = from_torch(data, '2/')
  found = layer.apply({**variables, **last}, data['2/x'], True)
  check(found, 'y_eval')


def test_from_torch_reads_tensors_and_says_what_is_missing():
  class Tensor:
    def detach(self):
      return self

    def cpu(self):
      return np.arange(3.0, dtype='f4')

  found = from_torch(
    {'bn.running_mean': Tensor(), 'bn.running_var': Tensor()}, 'bn.'
  )
  assert set(found) == {'batch_stats'}
  np.testing.assert_array_equal(found['batch_stats']['var'], [0, 1, 2])
  with pytest.raises(UserError, match=r'no bn2.running_mean .*it has x'):
    from_torch({'x': 0}, 'bn2.')
