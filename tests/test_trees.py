"""Planted and seen: names in insertion order, an update in place, a product
without one of its leaves, `kernel_scale` taken for a kernel."""

import jax.numpy as jnp
import numpy as np
import pytest

from bn_jax import trees

TREE = {
  'stage': {'dense_1': {'kernel': jnp.ones((2, 3)), 'bias': jnp.zeros(3)}},
  'head': {'kernel': jnp.full((3, 1), 2.0)},
}
NAMES = ['head/kernel', 'stage/dense_1/bias', 'stage/dense_1/kernel']


def test_names_are_in_the_order_of_the_leaves():
  assert trees.names(TREE) == NAMES


def test_map_named_gives_each_leaf_its_own_path():
  found = trees.map_named(
    lambda path, a, b: (path, a.shape, b),
    TREE,
    {'stage': {'dense_1': {'kernel': 1, 'bias': 2}}, 'head': {'kernel': 3}},
  )
  assert found['stage']['dense_1'] == {
    'kernel': ('stage/dense_1/kernel', (2, 3), 1),
    'bias': ('stage/dense_1/bias', (3,), 2),
  }
  assert found['head']['kernel'] == ('head/kernel', (3, 1), 3)


def test_get_and_update_by_path():
  new = trees.update(TREE, 'stage/dense_1', bias=jnp.ones(3))
  assert trees.get(new, 'stage/dense_1')['bias'].sum() == 3
  assert (
    trees.get(new, 'stage/dense_1/kernel') is TREE['stage']['dense_1']['kernel']
  )
  assert trees.get(TREE, 'stage/dense_1')['bias'].sum() == 0
  assert new['head'] is TREE['head']
  with pytest.raises(KeyError):
    trees.update(TREE, 'stage/dense_2', bias=jnp.ones(3))


def test_dot_and_subtract_are_those_of_flat_vectors():
  other = trees.map_named(lambda path, x: x + len(path), TREE)
  flat = [
    np.concatenate([np.ravel(trees.get(tree, name)) for name in NAMES])
    for tree in (TREE, other)
  ]
  assert trees.dot(TREE, other) == np.dot(*flat)
  difference = trees.subtract(TREE, other)
  assert trees.dot(difference, difference) == np.sum((flat[0] - flat[1]) ** 2)
  assert trees.num_parameters(TREE) == flat[0].size == 12


def test_a_kernel_is_told_by_the_last_name():
  assert trees.is_kernel('kernel') and trees.is_kernel('a/kernel')
  assert not any(map(trees.is_kernel, ('kernel/bias', 'a/kernel_scale')))
