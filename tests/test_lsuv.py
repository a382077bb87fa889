"""Layer-sequential unit variance: against NumPy, its paper's algorithm."""

import jax
import numpy as np
import pytest
import tiny

pytestmark = pytest.mark.usefixtures('compiles_fast')


def orthonormalized(**fields):
  """A network whose biases are 0, as they are at the start, and what it got."""
  net = tiny.net(['lsuv'], **fields)
  start = {
    name: {**layer, 'bias': 0 * layer['bias']}
    for name, layer in net.state.params.items()
  }
  return net, start, tiny.initialized(net, {'params': start})['params']


def test_lsuv_makes_the_variance_of_each_site_1():
  """Algorithm 1. Planted: scaling by what the plain network does."""
  net, _, params = orthonormalized()
  for h in tiny.arriving(params, net.image):
    np.testing.assert_allclose(h.var(), 1, rtol=1e-4)


def test_lsuv_is_that_of_numpy():
  """From the orthonormal kernels on: divide, bottom-up, by the deviation."""
  net, _, params = orthonormalized()
  wanted = jax.tree.map(np.float64, params)
  for i in range(2):  # any scale to start from will do
    wanted[f'dense_{i}']['kernel'] *= 3
  for i in range(2):
    wanted[f'dense_{i}']['kernel'] /= tiny.arriving(wanted, net.image)[i].std()
  tiny.assert_trees_close(params, wanted, rtol=1e-3)


def test_lsuv_starts_from_orthonormal_kernels():
  _, before, after = orthonormalized(**{'model.depth': 3})
  for layer in ('dense_0', 'dense_1', 'dense_2'):
    kernel = np.float64(after[layer]['kernel'])
    product = kernel @ kernel.T
    wanted = np.eye(len(kernel)) * product[0, 0]
    np.testing.assert_allclose(product, wanted, atol=1e-5 * product[0, 0])
    assert np.array_equal(after[layer]['bias'], before[layer]['bias'])
  tiny.assert_trees_equal(after['head'], before['head'])
  one, two = (after[layer]['kernel'] for layer in ('dense_1', 'dense_2'))
  assert not np.allclose(one / one[0, 0], two / two[0, 0])
