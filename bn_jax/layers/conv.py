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

A second trap lies in small images: XLA takes the larger of image and kernel
for the image, which leaves the fast form in any program. There the convolution
is a matrix product, and so it is for kernels of 1 x 1, where that is faster.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
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
  dilations = (*options['lhs_dilation'], *options['rhs_dilation'])
  plain = options['feature_group_count'] == 1 and set(dilations) == {1}
  if x.ndim != 4 or not plain:
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(
      x.shape[1:3], kernel.shape[:2], strides, padding
    )
  padding = tuple(map(tuple, padding))
  return conv2d(x, kernel, tuple(strides), padding, options['precision'])


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def conv2d(x, kernel, strides, padding, precision=None):
  """Convolves images with a kernel.

  Args:
    x: (batch, height, width, in).
    kernel: (height, width, in, out), of the dtype of `x`.
    strides: (vertical, horizontal).
    padding: ((above, below), (left, right)).
    precision: As jax.lax.conv_general_dilated takes it.

  Returns:
    (batch, height, width, out), as jax.lax.conv_general_dilated gives it.
  """
  conv = _Convolution(strides, padding, precision)
  if conv.is_product(x, kernel):
    return lax.platform_dependent(
      x, kernel, cpu=conv.by_patches, default=conv.plain
    )
  return conv.plain(x, kernel)


@conv2d.defjvp
def _conv2d_jvp(strides, padding, precision, primals, tangents):
  conv = _Convolution(strides, padding, precision)
  by_patches = _product_rule(conv.by_patches)
  product = conv.is_product(*primals)
  dy = lax.platform_dependent(
    *primals,
    *tangents,
    cpu=by_patches if product else conv.fast_when_transposed,
    default=_product_rule(conv.plain),
  )
  return conv2d(*primals, strides, padding, precision), dy


def _product_rule(conv):
  return lambda x, kernel, dx, dkernel: conv(dx, kernel) + conv(x, dkernel)


class _Convolution:
  """The forms of one convolution."""

  def __init__(self, strides, padding, precision):
    self._strides, self._padding = strides, padding
    self._precision = precision

  def _as(self, form, x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      self._strides,
      self._padding,
      dimension_numbers=form,
      precision=self._precision,
    )

  def plain(self, x, kernel):
    return self._as(_FORM, x, kernel)

  def fast_when_transposed(self, x, kernel, dx, dkernel):
    """The derivative, whose transpose in dx and dkernel is of the fast form."""
    y = self._as(_KERNEL_SWAPPED, dx, kernel.swapaxes(2, 3))
    x, dkernel = x.transpose(3, 1, 2, 0), dkernel.transpose(2, 0, 1, 3)
    return y + self._as(_BATCH_IS_FEATURE, x, dkernel).transpose(2, 0, 1, 3)

  def by_patches(self, x, kernel):
    """The patches under the kernel, as rows of a matrix, times the kernel."""
    height, width = self._output_size(x, kernel)
    down, right = self._strides
    edges = [(0, 0), *self._padding, (0, 0)]
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, [(*edge, 0) for edge in edges])  # may be negative
    patches = [
      x[:, a::down, b::right][:, :height, :width]
      for a in range(kernel.shape[0])
      for b in range(kernel.shape[1])
    ]
    return jnp.matmul(
      jnp.concatenate(patches, axis=-1),
      kernel.reshape(-1, kernel.shape[-1]),
      precision=self._precision,
    )

  def is_product(self, x, kernel) -> bool:
    """Whether a CPU had better take `by_patches`.

    XLA swaps an image and a kernel that is larger, forward and in the gradient.
    """
    area = math.prod(kernel.shape[:2])
    images = self._output_size(x, kernel), x.shape[1:3]
    return area == 1 or min(map(math.prod, images)) < area

  def _output_size(self, x, kernel):
    return tuple(
      (x.shape[1 + i] + sum(self._padding[i]) - kernel.shape[i])
      // self._strides[i]
      + 1
      for i in (0, 1)
    )
