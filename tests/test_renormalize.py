"""The edit of weights against NumPy, its limits, what it refuses."""

import jax
import numpy as np
import pytest
import tiny

from bn_jax import trees
from bn_jax.errors import UserError

pytestmark = pytest.mark.usefixtures('compiles_fast')


def renormalized(params, image):
  """Layer by layer, bottom-up, each edit seen by the layers above."""
  params = jax.tree.map(np.float64, params)
  for i in range(2):
    h = tiny.arriving(params, image)[i]
    layer = params[f'dense_{i}']
    layer['kernel'] = layer['kernel'] / h.std(0)
    layer['bias'] = (layer['bias'] - h.mean(0)) / h.std(0)
  return params


def test_renormalize_is_that_of_numpy():
  """Planted: all layers edited from the statistics of one plain pass."""
  net = tiny.net(['renormalize'])
  wanted = renormalized(net.state.params, net.image)
  tiny.assert_trees_close(tiny.edited(net).params, wanted)
  tiny.assert_trees_close(tiny.initialized(net)['params'], wanted)


@pytest.mark.parametrize('affine', [True, False])
def test_renormalize_leaves_mean_0_and_variance_1(affine):
  net = tiny.net(['renormalize'], **tiny.options('renormalize', affine=affine))
  tiny.assert_normalized(tiny.apply(net, tiny.edited(net).params).sites)


def test_renormalizing_twice_is_renormalizing_once():
  """Planted: a mean that is divided by the deviation twice."""
  net = tiny.net(['renormalize'])
  once = tiny.edited(net)
  tiny.assert_trees_close(tiny.edited(net, once).params, once.params)


def test_renormalize_preserves_the_function_where_told_to():
  """Planted: a bias that absorbs the mean without the scale.

  On every batch, not only on the one that the statistics are of.
  """
  given = tiny.options('renormalize', preserve_function=True)
  net, other = (
    tiny.net(['renormalize'], tiny.batch(i), **given) for i in (0, 1)
  )
  new = tiny.edited(net).params
  for each in (net, other):
    before, after = tiny.apply(each, net.state.params), tiny.apply(each, new)
    np.testing.assert_allclose(after.logits, before.logits, atol=1e-5)
  tiny.assert_normalized(tiny.apply(net, new).sites)


def test_renormalize_without_it_changes_the_function():
  net = tiny.net(['renormalize'])
  before, after = tiny.apply(net), tiny.apply(net, tiny.edited(net).params)
  assert not np.allclose(before.logits, after.logits, atol=0.1)


def test_renormalize_acts_after_each_kth_step():
  """Planted: a remainder of 1."""
  net = tiny.net(['renormalize'], **tiny.options('renormalize', every=3))
  for step, edits in ((1, False), (2, False), (3, True), (4, False), (6, True)):
    new = tiny.edited(net, net.state.replace(step=np.int32(step))).params
    kernels = (p['dense_0']['kernel'] for p in (new, net.state.params))
    assert np.array_equal(*kernels) != edits


def test_renormalize_leaves_the_weights_of_a_unit_that_never_varies():
  """Planted: a division by its deviation, of 0 or of rounding errors.

  Its mean is gone all the same.
  """
  net = tiny.net(['renormalize'], **{'model.activation': 'relu'})
  kernel = net.state.params['dense_0']['kernel']
  still = np.array(kernel)
  still[:, 2] = 0
  off = np.full(8, -100, np.float32)  # then nothing comes out of the layer
  cut = np.float32(0.1 * np.arange(1, 9))
  start = net.state.params
  params = trees.update(start, 'dense_0', kernel=still)
  new = tiny.edited(net, net.state.replace(params=params)).params
  np.testing.assert_allclose(new['dense_0']['bias'][2], 0, atol=1e-6)
  assert not new['dense_0']['kernel'][:, 2].any()
  params = trees.update(start, 'site_0/norm', bias=off, scale=0 * off)
  params = trees.update(params, 'dense_1', bias=cut)
  new = tiny.edited(net, net.state.replace(params=params)).params
  found, wanted = (p['dense_1']['kernel'] for p in (new, params))
  np.testing.assert_array_equal(found, wanted)
  np.testing.assert_allclose(new['dense_1']['bias'], 0, atol=1e-6)


def test_renormalize_looks_at_examples_that_count():
  """Planted: moments without the mask."""
  mask = np.arange(tiny.BATCH) < 10
  masked = tiny.net(['renormalize'], {**tiny.batch(), 'mask': mask})
  few = tiny.net(['renormalize'], {k: v[:10] for k, v in tiny.batch().items()})
  tiny.assert_trees_close(tiny.edited(masked).params, tiny.edited(few).params)


@pytest.mark.parametrize(
  'chained, given, words',
  [
    (['renormalize'], {'model.site': 'post_activation'}, 'no linear layer'),
    (['batch_norm', 'renormalize'], {}, 'site_0 is normalized already'),
    (['renormalize', 'batch_norm'], {}, 'site_0 is normalized already'),
    (['renormalize'], {'model': 'linear_chain'}, 'model.use_bias=True'),
    (
      ['renormalize'],
      tiny.options('renormalize', preserve_function=True, affine=False),
      'preserve_function: True with affine=False',
    ),
  ],
)
def test_renormalize_refuses_what_it_cannot_edit(chained, given, words):
  with pytest.raises(UserError, match=words):
    tiny.edited(tiny.net(chained, **given))
