"""A case, and how far an answer is from the reference."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from experiments.conformance_suite import reference
from experiments.conformance_suite.adapters import base

# How far a correct implementation may be off, relative to the largest value.
TOLERANCES = {
  'float32': 1e-5,
  'bfloat16': 2e-2,
  'float16': 3e-3,
  'float64': 1e-12,
  'complex64': 1e-5,
}


class Case(NamedTuple):
  """One row of the scoreboard."""

  group: str
  name: str
  tolerance: float
  """The largest error that passes; 0 where the answer is exact."""
  run: Callable
  """peer -> error, inf for an answer that is not finite."""
  inputs: str = ''
  """The code that makes its input x: what a reproduction needs."""


class Inputs(NamedTuple):
  """What a layer is given; d is the gradient of its output."""

  x: np.ndarray
  scale: np.ndarray
  bias: np.ndarray
  d: np.ndarray
  mask: np.ndarray | None


def make(code, spec=None, axis=-1):
  """Runs the code, which sets x and perhaps mask, and draws the rest."""
  names = {
    'np': np,
    'rng': np.random.default_rng(0),
    'bfloat16': ml_dtypes.bfloat16,
  }
  exec(code, names)  # our own text: what the report prints is what was run
  x, rng = names['x'], np.random.default_rng(1)
  spec = spec or base.Spec(x.shape, axis)
  wide = np.promote_types(
    np.float32,
    x.real.dtype
    if x.dtype.kind == 'c'
    else (np.float32 if x.dtype == ml_dtypes.bfloat16 else x.dtype),
  )
  scale, bias = (
    rng.normal(1, 0.3, spec.features),
    rng.normal(0, 1, spec.features),
  )
  d = rng.normal(size=x.shape)
  if x.dtype.kind == 'c':
    d = d + 1j * rng.normal(size=x.shape)
  return spec, Inputs(
    x,
    scale.astype(wide),
    bias.astype(wide),
    d.astype(x.dtype),
    names.get('mask'),
  )


def precision(x):
  """A context in which JAX has the width of x."""
  wide = np.asarray(x).dtype == np.float64
  return jax.enable_x64(True) if wide else contextlib.nullcontext()


def error(found, wanted):
  """max |found - wanted| / max |wanted|; inf where found is not finite."""
  found = np.asarray(found)
  if found.dtype in (ml_dtypes.bfloat16, np.float16):
    found = found.astype(np.float32)
  wanted = np.asarray(wanted)
  if found.shape != wanted.shape:
    raise ValueError(f'shape {found.shape}, not {wanted.shape}')
  gap = np.abs(reference.wide(found) - wanted).max(initial=0)
  most = np.abs(wanted).max(initial=0)
  return float(gap / (most or 1)) if np.isfinite(gap) else float('inf')


def gradients(peer, spec, inputs):
  """(y, dx, dscale, dbias), gradients of sum Re(conj(d) y)."""
  arrays = [jnp.asarray(a) for a in inputs[:4]]
  arrays[3] = arrays[3].conj()
  y, (dx, dscale, dbias) = peer.gradients(spec, *arrays, mask=inputs.mask)
  return y, np.conj(np.asarray(dx)), dscale, dbias


def against_reference(code, axis=-1, parts=('y', 'dx', 'dscale', 'dbias')):
  """A case's run: the worst error among the parts, in training mode."""

  def run(peer):
    spec, inputs = make(code, axis=axis)
    x, scale, bias, d = (reference.wide(_float(a)) for a in inputs[:4])
    wanted = reference.batch_norm(x, scale, bias, d, axis, inputs.mask)
    with precision(inputs.x):
      found = gradients(peer, spec, inputs)
      names = ('y', 'dx', 'dscale', 'dbias')
      pairs = zip(names, found, strict=True)
      return max(error(a, getattr(wanted, n)) for n, a in pairs if n in parts)

  return run


def _float(a):
  return a.astype(np.float32) if a.dtype == ml_dtypes.bfloat16 else a
