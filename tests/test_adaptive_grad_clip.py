"""Clipping by unit: against NumPy, the bound of its paper, its limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

pytestmark = pytest.mark.usefixtures('compiles_fast')


def clipped(grads, params, clipping, epsilon):
  """Equation 3, for kernels (in, out) whose units are columns."""
  found = jax.tree.map(np.float64, grads)
  for layer in ('dense_0', 'dense_1'):
    for name, axis in (('kernel', 0), ('bias', None)):
      norm = np.linalg.norm(found[layer][name], axis=axis)
      size = np.linalg.norm(params[layer][name], axis=axis)
      limit = clipping * np.maximum(size, epsilon)
      found[layer][name] *= np.minimum(1, limit / norm)
  return found


def clip(net):
  grads = jax.tree.map(lambda x: 5 * jnp.sin(9 * x), net.state.params)
  rule = net.strategy.gradient
  return grads, rule.update(grads, rule.init(grads), net.state.params)[0]


@pytest.mark.parametrize('clipping, epsilon', [(0.01, 1e-3), (0.9, 2.0)])
def test_adaptive_grad_clip_is_that_of_numpy(clipping, epsilon):
  """Planted: norms of whole kernels, a head that is clipped."""
  given = tiny.options('adaptive_grad_clip', clipping=clipping, epsilon=epsilon)
  net = tiny.net(['adaptive_grad_clip'], **given)
  grads, found = clip(net)
  wanted = clipped(grads, net.state.params, clipping, epsilon)
  tiny.assert_trees_close(found, wanted)
  assert np.array_equal(found['head']['kernel'], grads['head']['kernel'])


def test_adaptive_grad_clip_bounds_each_unit():
  """Its paper's property: |G_i| <= clipping max(|W_i|, epsilon)."""
  net = tiny.net(['adaptive_grad_clip'])
  _, found = clip(net)
  for layer in ('dense_0', 'dense_1'):
    norms = np.linalg.norm(found[layer]['kernel'], axis=0)
    sizes = np.linalg.norm(net.state.params[layer]['kernel'], axis=0)
    np.testing.assert_allclose(norms / sizes, 0.01, rtol=1e-4)


def test_adaptive_grad_clip_without_a_limit_is_none():
  net = tiny.net(
    ['adaptive_grad_clip'], **tiny.options('adaptive_grad_clip', clipping=1e9)
  )
  grads, found = clip(net)
  tiny.assert_trees_equal(found, grads)
