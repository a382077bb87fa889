"""Batch norm in a network: against NumPy, its gradient, its invariance."""

import jax
import numpy as np
import optax
import pytest
import tiny

from bn_jax import trees

pytestmark = pytest.mark.usefixtures('compiles_fast')


def test_batch_norm_is_that_of_numpy():
  """Planted: epsilon outside of the root."""
  net = tiny.net(['batch_norm'], **tiny.options('batch_norm', epsilon=0.1))

  def at_site(_, h):
    return (h - h.mean(0)) / np.sqrt(h.var(0) + 0.1)

  wanted = tiny.mlp(net.state.params, net.image, at_site)
  found = tiny.apply(net).logits
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_batch_norm_leaves_mean_0_and_variance_1():
  sites = tiny.apply(tiny.net(['batch_norm'])).sites
  tiny.assert_normalized(sites, 'normalized')


@pytest.mark.parametrize(
  'average, after_two',
  [
    ('ema', lambda start, a, b: 0.49 * start + 0.21 * a + 0.3 * b),
    ('debiased', lambda start, a, b: (0.21 * a + 0.3 * b) / 0.51),
    ('cumulative', lambda start, a, b: (a + b) / 2),
  ],
)
def test_batch_norm_averages_its_statistics(average, after_two):
  """Planted: the policy, or the momentum, not handed to the layer."""
  given = {} if average == 'cumulative' else {'momentum': 0.7}
  given = tiny.options('batch_norm', average=average, **given)
  nets = [tiny.net(['batch_norm'], tiny.batch(i), **given) for i in (0, 1)]
  params, stats = nets[0].state.params, nets[0].state.batch_stats
  for net in nets:
    stats = tiny.apply(net, params, stats).batch_stats
  a, b = (tiny.arriving(params, net.image)[0] for net in nets)
  found = stats['site_0']['norm']
  wanted = after_two(0.0, a.mean(0), b.mean(0))
  np.testing.assert_allclose(found['mean'], wanted, rtol=1e-4, atol=1e-5)
  wanted = after_two(1.0, a.var(0), b.var(0))
  np.testing.assert_allclose(found['var'], wanted, rtol=1e-4)


def test_batch_norm_evaluates_with_its_running_statistics():
  """Planted: `train` not handed on to the sites."""
  net = tiny.net(['batch_norm'])
  stats = tiny.apply(net).batch_stats

  def at_site(i, h):
    known = stats[f'site_{i}']['norm']
    return (h - known['mean']) / np.sqrt(np.float64(known['var']) + 1e-5)

  image = net.image + 1.0
  other = {**tiny.batch(), 'image': image * tiny.spec().std + tiny.spec().mean}
  there = tiny.net(['batch_norm'], other)
  out = tiny.apply(there, net.state.params, stats, train=False)
  wanted = tiny.mlp(net.state.params, image, at_site)
  np.testing.assert_allclose(out.logits, wanted, rtol=1e-3, atol=1e-4)
  tiny.assert_trees_equal(out.batch_stats, stats)


def gradient(net, chained_to=None):
  """Of the cross-entropy, with respect to the parameters."""
  label = tiny.batch()['label']

  def loss(params):
    logits = net.forward(params, net.state.batch_stats).logits
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return losses.mean()

  return jax.jit(jax.grad(loss))(net.state.params)


def slope(net, path, direction):
  """Of the loss along a direction of one kernel, by central differences."""
  label = tiny.batch()['label']

  def loss(step):
    params = jax.tree.map(np.float64, net.state.params)
    params[path]['kernel'] = params[path]['kernel'] + step * direction

    def at_site(_, h):
      return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)

    logits = tiny.mlp(params, net.image, at_site)
    logits = logits - logits.max(1, keepdims=True)
    picked = logits[np.arange(len(label)), label]
    return np.mean(np.log(np.exp(logits).sum(1)) - picked)

  return (loss(1e-5) - loss(-1e-5)) / 2e-5


@pytest.mark.parametrize('stop', ['none', 'mean', 'var', 'both'])
def test_only_the_full_gradient_is_that_of_the_loss(stop):
  """Planted: the option not handed to the layer."""
  net = tiny.net(
    ['batch_norm'], **tiny.options('batch_norm', stop_gradient=stop)
  )
  direction = np.random.default_rng(1).normal(size=(8, 8))
  found = np.sum(gradient(net)['dense_1']['kernel'] * direction)
  wanted = slope(net, 'dense_1', direction)
  assert np.isclose(found, wanted, rtol=1e-3) == (stop == 'none')


def test_the_scale_of_weights_does_not_matter_to_batch_norm():
  """Ioffe & Szegedy 2015, section 3.3; the gradient is orthogonal to W_j."""
  net = tiny.net(['batch_norm'], **tiny.options('batch_norm', epsilon=0.0))
  kernel = net.state.params['dense_0']['kernel']
  scaled = trees.update(net.state.params, 'dense_0', kernel=7 * kernel)
  logits = tiny.apply(net).logits, tiny.apply(net, scaled).logits
  np.testing.assert_allclose(*logits, rtol=1e-3, atol=1e-4)
  found = gradient(net)['dense_0']['kernel']
  cosines = np.sum(found * kernel, 0) / np.linalg.norm(found, axis=0)
  np.testing.assert_allclose(
    cosines / np.linalg.norm(kernel, axis=0), 0, atol=1e-5
  )


def test_batch_norm_without_affine_has_no_parameters_at_sites():
  net = tiny.net(['batch_norm'], **tiny.options('batch_norm', affine=False))
  assert sorted(net.state.params) == ['dense_0', 'dense_1', 'head']
  assert sorted(net.state.params['dense_0']) == ['kernel']
