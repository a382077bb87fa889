"""What `import bn_jax` offers. Fault seen: a name that points elsewhere."""

import bn_jax


def test_every_name_is_where_the_package_says():
  assert 'BatchNorm' in bn_jax._LAZY
  for name in bn_jax._LAZY:
    assert getattr(bn_jax, name).__name__ == name
    assert name in dir(bn_jax)
