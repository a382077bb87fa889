"""What is kept for the backward pass, and what XLA makes of both passes."""

import re

import jax
import jax.numpy as jnp
import pytest

from bn_jax import functional

SHAPE = (512, 3000)  # large: a pass over it goes through the memory


def written(f, *args):
  """Arrays of the input's size that the compiled program writes."""
  text = jax.jit(f).lower(*args).compile().as_text()
  entry = text[text.index('ENTRY') :]
  shape = ','.join(map(str, SHAPE))
  return re.findall(
    rf'= f32\[{shape}\]\S* (?!parameter|bitcast)([\w-]+)\(', entry
  )


def forward(x, scale, bias):
  return functional.batch_norm(x, scale, bias)[0]


def inference(x, scale, bias):
  return functional.normalize(x, scale, scale, scale, bias)


def with_relu(f):
  return lambda *args: jax.nn.relu(f(*args))


def both(f):
  def run(x, scale, bias, d):
    y, pull = jax.vjp(f, x, scale, bias)
    return y, pull(d)

  return run


ARGUMENTS = jnp.ones(SHAPE), jnp.ones(SHAPE[1]), jnp.ones(SHAPE[1])


@pytest.mark.parametrize('f', [forward, inference])
@pytest.mark.parametrize('around', [lambda f: f, with_relu])
def test_one_array_is_written_relu_or_not(f, around):
  assert len(written(around(f), *ARGUMENTS)) == 1


def test_both_passes_write_output_and_gradient_alone():
  """With ReLU behind, its masked gradient as well: three reductions read it."""
  assert len(written(both(forward), *ARGUMENTS, ARGUMENTS[0])) == 2
  assert len(written(both(with_relu(forward)), *ARGUMENTS, ARGUMENTS[0])) == 3


def draw(shape, dtype='float32'):
  """x, scale and bias."""
  x = jax.random.normal(jax.random.key(0), shape, dtype)
  return x, jnp.ones(shape[-1]), jnp.zeros(shape[-1])


def leaves_kept(f, *args):
  _, pull = jax.vjp(f, *args)
  return jax.tree.leaves(pull)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('shape', [(64, 16), (4, 8, 8, 16), (1100, 1000)])
def test_backward_keeps_x_and_nothing_else_of_its_size(shape, dtype):
  x, scale, bias = draw(shape, dtype)
  for f, args in [
    (lambda *a: functional.batch_norm(*a)[0], (x, scale, bias)),
    (lambda *a: functional.batch_norm(*a), (x, scale, bias)),
    (lambda x: functional.moments(x), (x,)),
    (
      lambda *a: functional.normalize(a[0], *a[1:]),
      (x, scale, bias, scale, bias),
    ),
  ]:
    kept = leaves_kept(f, *args)
    assert [a.dtype for a in kept if a.size > shape[-1]] == [x.dtype]
    jitted = leaves_kept(jax.jit(f), *args)
    assert sum(a.size for a in jitted if a.size > shape[-1]) == x.size


def sums(jaxpr, size):
  """How many sums over arrays of a size a program takes, calls included."""
  inner = [
    getattr(p, 'jaxpr', p)
    for e in jaxpr.eqns
    for p in e.params.values()
    if hasattr(getattr(p, 'jaxpr', p), 'eqns')
  ]
  here = [e for e in jaxpr.eqns if e.primitive.name == 'reduce_sum']
  here = sum(e.invars[0].aval.size == size for e in here)
  return here + sum(sums(j, size) for j in inner)


@pytest.mark.parametrize('shape', [(64, 16), (1100, 1000)])
def test_backward_takes_two_sums_and_no_statistics_again(shape):
  x, scale, bias = draw(shape)
  _, pull = jax.vjp(lambda *a: functional.batch_norm(*a)[0], x, scale, bias)
  assert sums(jax.make_jaxpr(pull)(x).jaxpr, x.size) == 2
