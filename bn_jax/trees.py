"""Paths in trees of parameters, and edits by path.

A path is the name of a module, written as Flax scopes nest: `stage_0/dense_1`.
"""

import jax
import jax.numpy as jnp


def names(tree) -> list[str]:
  """The path of each leaf, in the order of `jax.tree.leaves`."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [
    jax.tree_util.keystr(p, simple=True, separator='/') for p, _ in leaves
  ]


def map_named(function, tree, *rest):
  """`jax.tree.map` whose function gets the leaf's path first."""
  return jax.tree_util.tree_map_with_path(
    lambda path, *leaves: function(
      jax.tree_util.keystr(path, simple=True, separator='/'), *leaves
    ),
    tree,
    *rest,
  )


def get(tree, path: str):
  """The subtree at `path`."""
  for name in path.split('/'):
    tree = tree[name]
  return tree


def update(tree, path: str, **values):
  """A copy of `tree` in which the module at `path` holds the new values."""
  name, _, rest = path.partition('/')
  inner = update(tree[name], rest, **values) if rest else tree[name] | values
  return {**tree, name: inner}


def dot(a, b):
  """The inner product of two trees as one scalar."""
  return sum(
    jax.tree.leaves(jax.tree.map(lambda x, y: jnp.vdot(x, y), a, b)), 0.0
  )


def subtract(a, b):
  """The difference of two trees, a - b."""
  return jax.tree.map(lambda x, y: x - y, a, b)


def is_kernel(path: str) -> bool:
  """Whether the leaf at `path` is the kernel of a linear layer."""
  return path.rpartition('/')[2] == 'kernel'


def num_parameters(tree) -> int:
  """How many numbers the tree holds."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))
