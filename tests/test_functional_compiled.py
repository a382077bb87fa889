"""What XLA makes of it: how many arrays of the input's size are written."""

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
