"""Output and gradients in training mode: shapes, axes, dtypes."""

from experiments.conformance_suite.case import (
  TOLERANCES,
  Case,
  against_reference,
)

SHAPES = {
  '(N, C)': ((32, 5), -1),
  '(N, T, C)': ((8, 6, 5), -1),
  '(N, H, W, C)': ((8, 6, 7, 5), -1),
  '(N, C, H, W), axis=1': ((8, 5, 6, 7), 1),
  '(C, N), axis=0': ((5, 32), 0),
  '(N, H, W, C), axis=(1, 3)': ((8, 6, 7, 5), (1, 3)),
}


def cases():
  """A row for each shape in each dtype."""
  return [_case(name, dtype) for dtype in TOLERANCES for name in SHAPES]


def _case(name, dtype):
  shape, axis = SHAPES[name]
  code = draw(shape, dtype, mean=1)
  return Case(
    'Output and gradients',
    f'{name}, {dtype}',
    TOLERANCES[dtype],
    against_reference(code, axis),
    code + (f'  # axis={axis}' if axis != -1 else ''),
  )


def draw(shape, dtype, mean):
  """The code that draws an x."""
  code = f'rng.normal({mean}, 2, {shape})'
  if dtype == 'complex64':
    code = f'{code} + 1j * {code}'
  kind = dtype if dtype == 'bfloat16' else f"'{dtype}'"
  return f'x = ({code}).astype({kind})'
