"""A convolution whose gradient stays fast inside a loop on a CPU.

XLA's CPU compiler runs a convolution by a fast library where its operands lie
in memory as b01f,01io->b01f, and rearranges others to that form, but only
outside of loops (jax-ml/jax#12868). The two convolutions of a gradient are of
other forms: inside `scan` they fall to a plain loop nest, tens of times slower.

The rule below writes the derivative so that JAX's own transposition yields the
fast form: where it would swap two axes of an operand by name, they have been
swapped in memory before, and the names swap back. Since the derivative is made
of plain convolutions, every mode works: reverse, forward, second order, vmap.
The price: forward mode itself is of a slow form inside a loop on a CPU.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
from jax import lax

_FORM = ('NHWC', 'HWIO', 'NHWC')
_KERNEL_SWAPPED = ('NHWC', 'HWOI', 'NHWC')
_BATCH_IS_FEATURE = ('CHWN', 'IHWO', 'HWNC')


class Conv(nn.Conv):
  """flax.linen.Conv, with a gradient that is fast inside a loop on a CPU.

  The fields, the parameters (`kernel`, `bias`), their shapes and initial
  values, and the results are those of flax.linen.Conv. Images are (batch,
  height, width, channels). Dilated, grouped and 1-D or 3-D convolutions are
  flax's own in every respect, slow gradient included.
  """

  conv_general_dilated_cls: Any = lambda: _conv


def _conv(x, kernel, strides, padding, **options):
  """jax.lax.conv_general_dilated with flax's arguments; see the module."""
  if x.ndim != 4 or not _plain(options):
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)
  if not isinstance(padding, str):
    padding = tuple(map(tuple, padding))
  return conv2d(x, kernel, tuple(strides), padding, options['precision'])


def _plain(options) -> bool:
  dilations = (*options['lhs_dilation'], *options['rhs_dilation'])
  return options['feature_group_count'] == 1 and set(dilations) == {1}


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def conv2d(x, kernel, strides=(1, 1), padding='SAME', precision=None):
  """Convolves images with a kernel.

  Args:
    x: (batch, height, width, in).
    kernel: (height, width, in, out), of the dtype of `x`.
    strides: Two integers.
    padding: 'SAME', 'VALID', or ((low, high), (low, high)).
    precision: As jax.lax.conv_general_dilated takes it.

  Returns:
    (batch, height, width, out), as jax.lax.conv_general_dilated gives it.
  """
  return lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=_FORM, precision=precision
  )


@conv2d.defjvp
def _conv2d_jvp(strides, padding, precision, primals, tangents):
  conv = functools.partial(
    lax.conv_general_dilated,
    window_strides=strides,
    padding=padding,
    precision=precision,
  )

  def plain(x, kernel, dx, dkernel):
    y = conv(dx, kernel, dimension_numbers=_FORM)
    return y + conv(x, dkernel, dimension_numbers=_FORM)

  def fast_transposed(x, kernel, dx, dkernel):
    kernel = kernel.swapaxes(2, 3)
    y = conv(dx, kernel, dimension_numbers=_KERNEL_SWAPPED)
    x, dkernel = x.transpose(3, 1, 2, 0), dkernel.transpose(2, 0, 1, 3)
    z = conv(x, dkernel, dimension_numbers=_BATCH_IS_FEATURE)
    return y + z.transpose(2, 0, 1, 3)

  dy = lax.platform_dependent(
    *primals, *tangents, cpu=fast_transposed, default=plain
  )
  return conv2d(*primals, strides, padding, precision), dy
