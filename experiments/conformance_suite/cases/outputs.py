"""Output and gradients in training mode: shapes, axes, dtypes."""

from experiments.conformance_suite.case import (
  TOLERANCES,
  Case,
  against_reference,
)

_SHAPES = {
  '(N, C)': ((32, 5), -1),
  '(N, T, C)': ((8, 6, 5), -1),
  '(N, H, W, C)': ((8, 6, 7, 5), -1),
  '(N, C, H, W), axis=1': ((8, 5, 6, 7), 1),
  '(C, N), axis=0': ((5, 32), 0),
  '(N, H, W, C), axis=(1, 3)': ((8, 6, 7, 5), (1, 3)),
}


def cases():
  """A row a shape in float32, then a row a dtype for two shapes."""
  rows = [(name, 'float32') for name in _SHAPES]
  rows += [
    (name, dtype)
    for dtype in ('bfloat16', 'float16', 'float64', 'complex64')
    for name in ('(N, C)', '(N, H, W, C)')
  ]
  return [_case(name, dtype) for name, dtype in rows]


def _case(name, dtype):
  shape, axis = _SHAPES[name]
  draw = f'rng.normal(1, 2, {shape})'
  if dtype == 'complex64':
    draw = f'{draw} + 1j * {draw}'
  kind = dtype if dtype == 'bfloat16' else f"'{dtype}'"
  code = f'x = ({draw}).astype({kind})'
  return Case(
    'Output and gradients',
    f'{name}, {dtype}',
    TOLERANCES[dtype],
    against_reference(code, axis),
    code + (f'  # axis={axis}' if axis != -1 else ''),
  )
