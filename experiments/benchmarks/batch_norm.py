"""Batch norm, forward and backward in training mode, by shape.

  python -m experiments.benchmark batch_norm
  python -m experiments.benchmark batch_norm --out=docs/benchmark_batch_norm.md

Against flax.linen.BatchNorm, PyTorch where it is installed (images in both
memory formats, channels_last and contiguous), and the bandwidth bound: a copy
of the bytes of 8 passes over the input (forward 2 reads and a write, backward 4
reads and a write). They take turns, bn_jax, Flax and the copy in one process,
PyTorch in another that waits meanwhile; the figures are medians over the
rounds. `+ malloc` is with glibc's thresholds raised (bn_jax/allocator.py).
About five minutes on two cores; on a GPU the shapes are those for a GPU.
Nothing else should run meanwhile.
"""

import argparse
import ast
import importlib.util
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

from experiments.benchmarks import harness

ARMS = 'experiments.benchmarks._batch_norm_arms'
CPU = [(60, 100), (128, 512), (256, 4096), (128, 32, 32, 64), (32, 56, 56, 256)]
GPU = [(256, 56, 56, 256), (1024, 32, 32, 64), (8192, 4096)]
DTYPES = ('float32', 'bfloat16')


def main(argv):
  """Measures, prints the tables, and writes them with --out."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.benchmark batch_norm',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--rounds', type=int, default=31, help='bursts per arm')
  parser.add_argument(
    '--shapes', default='', help='such as "(60,100) (128,512)"'
  )
  parser.add_argument('--dtypes', default=','.join(DTYPES))
  parser.add_argument('--out', help='also write the tables to this .md file')
  options = parser.parse_args(argv)
  gpu = _gpu()
  shapes = [ast.literal_eval(s) for s in options.shapes.split()]
  shapes = shapes or (GPU if gpu else CPU)
  arms = [_Arm(*kind) for kind in _kinds(gpu)]
  rows = []
  try:
    for dtype in options.dtypes.split(','):
      for shape in shapes:
        rows.append(_measure(arms, shape, dtype, options.rounds))
        if gpu:
          _add_peaks(rows[-1])
        print(
          '\n'.join(_time_lines([rows[-1]], head=len(rows) == 1)), flush=True
        )
  finally:
    for arm in arms:
      arm.close()
  text = _page(rows, gpu)
  print(text)
  if options.out:
    pathlib.Path(options.out).write_text(text)
  return 0


def _gpu():
  """Whether JAX would use a GPU, asked in a process that ends."""
  code = 'import jax; print(jax.devices()[0].platform)'
  found = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False
  )
  return found.stdout.strip() in ('gpu', 'cuda', 'rocm')


def _kinds(gpu):
  """What each process measures, and its allocator."""
  kinds = [('jax', '')] if gpu else [('jax', ''), ('jax', 'malloc')]
  return kinds + [('torch', '')] * bool(importlib.util.find_spec('torch'))


class _Arm:
  """A process that measures what it is told to."""

  def __init__(self, kind, malloc, **environment):
    self.kind, self.malloc = kind, malloc
    self.process = subprocess.Popen(
      [sys.executable, '-m', ARMS, kind, malloc or 'plain'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, **environment},
    )
    self._answer()

  def _answer(self):
    line = self.process.stdout.readline()
    if not line:
      raise RuntimeError(f'the process for {self.kind} ended')
    return line

  def ask(self, line):
    """Sends a line, returns the answer."""
    self.process.stdin.write(line + '\n')
    self.process.stdin.flush()
    return self._answer()

  def close(self):
    """Ends the process."""
    self.process.stdin.close()
    self.process.wait()


def _measure(arms, shape, dtype, rounds):
  """One shape: facts and times of each (program, allocator), in turns."""
  facts, turns, times = {}, [], {}
  for arm in arms:
    for name, fact in json.loads(arm.ask(f'prepare {shape} {dtype}')).items():
      facts[name, arm.malloc] = fact
      turns.append((arm, name))
  for number in range(rounds):
    if sys.stderr.isatty():
      print(f'\r{shape} {dtype}: round {number + 1} ', end='', file=sys.stderr)
    # Back and forth, so that no one always follows the same one.
    for arm, name in turns[:: -1 if number % 2 else 1]:
      seconds = float(arm.ask(f'go {name}'))
      times.setdefault((name, arm.malloc), []).append(seconds)
  if sys.stderr.isatty():
    print(file=sys.stderr)
  return shape, dtype, facts, times


def _add_peaks(row):
  """What the device counted, each program in a process of its own.

  Without preallocation: the arms hold most of the memory.
  """
  shape, dtype, facts, _ = row
  for name in ('bn_jax', 'flax'):
    arm = _Arm('jax', '', XLA_PYTHON_CLIENT_PREALLOCATE='false')
    try:
      facts[name, '']['peak'] = json.loads(
        arm.ask(f'peak {name} {shape} {dtype}')
      )
    finally:
      arm.close()


def _ratio(times, a, b):
  """Median over the rounds of a's time over b's: what slows both cancels."""
  if a not in times or b not in times:
    return 'n/a'
  pairs = zip(times[a], times[b], strict=True)
  return f'{statistics.median(x / y for x, y in pairs):.2f}'


def _time_lines(rows, head=True):
  lines = []
  if head:
    lines += [
      '| shape | MB | allocator | Flax, ms | bn_jax, ms | bn_jax / Flax | '
      'bn_jax / bound | Flax / bound | PyTorch / Flax | bn_jax / PyTorch | '
      'PyTorch contiguous / Flax | bn_jax / PyTorch contiguous |',
      '| --- |' + ' --- |' * 11,
    ]
  for shape, dtype, _, times in rows:
    size = (2 if dtype == 'bfloat16' else 4) * math.prod(shape)
    for malloc in ('', 'malloc'):
      ours, flax, copy = ((n, malloc) for n in ('bn_jax', 'flax', 'copy'))
      if ours not in times:
        continue
      torch, contiguous = ('torch', ''), ('torch_contiguous', '')
      cells = [
        f'{shape}',
        f'{size / 2**20:.2f}',
        '+ malloc' if malloc else 'as it is',
        f'{statistics.median(times[flax]) * 1e3:.3f}',
        f'{statistics.median(times[ours]) * 1e3:.3f}',
        f'**{_ratio(times, ours, flax)}**',
        _ratio(times, ours, copy),
        _ratio(times, flax, copy),
        _ratio(times, torch, flax),
        _ratio(times, ours, torch),
        _ratio(times, contiguous, flax),
        _ratio(times, ours, contiguous),
      ]
      lines.append('| ' + ' | '.join(cells) + ' |')
  return lines


def _held_against_limits(rows):
  """Which of the limits for float32 on a CPU are missed, and by how much."""
  missed = []
  for shape, _, _, times in rows:
    large = math.prod(shape) * 4 >= _FROM
    for malloc in ('', 'malloc'):
      for other, most in (('flax', 0.9 if large else 1.0), ('copy', 2.0)):
        if (other, malloc) not in times or (other == 'copy' and not large):
          continue
        found = float(_ratio(times, ('bn_jax', malloc), (other, malloc)))
        if found > most:
          missed.append(
            f'- {shape}, {"+ malloc" if malloc else "as it is"}: {found:.2f} '
            f'of {_OTHERS[other]}, {most} asked'
          )
  return [_ASKED, '', *(missed or ['- nothing'])]


def _memory_lines(rows):
  lines = [
    '| shape | dtype | kept: bn_jax | Flax | PyTorch | contiguous | '
    'temporary: bn_jax | Flax | peak: bn_jax | Flax | PyTorch | contiguous |',
    '| --- |' + ' --- |' * 11,
  ]
  every = ('bn_jax', 'flax', 'torch', 'torch_contiguous')
  for shape, dtype, facts, _ in rows:
    cells = [f'{shape}', dtype]
    for fact, names in (
      ('kept', every),
      ('temporary', every[:2]),
      ('peak', every),
    ):
      for name in names:
        value = facts.get((name, ''), {}).get(fact)
        cells.append('n/a' if value is None else f'{value:.2f}')
    lines.append('| ' + ' | '.join(cells) + ' |')
  return lines


def _page(rows, gpu):
  lines = ['# Benchmark: batch_norm', '']
  lines += [
    'Made by `python -m experiments.benchmark batch_norm`. Do not edit.',
    '',
  ]
  device = rows[0][2]['bn_jax', '']['device']
  lines += [*harness.machine(), f'- device: {device}', '', _NOTE, '']
  for dtype in dict.fromkeys(row[1] for row in rows):
    chosen = [row for row in rows if row[1] == dtype]
    lines += [f'## Time, {dtype}', '', *_time_lines(chosen), '']
    if dtype == 'float32' and not gpu:
      lines += [*_held_against_limits(chosen), '']
  lines += ['## Memory, in units of the input', '', _MEMORY, '']
  lines += [*_memory_lines(rows), '']
  if not gpu:
    lines += ['GPU figures are missing: no GPU was at hand.', '']
  return '\n'.join(lines)


_NOTE = """\
Forward and backward pass in training mode, running statistics included, as one
program (PyTorch eager: forward, then backward; images channels_last where
nothing else is said). Medians over rounds in which the arms take turns; ratios
are medians of the ratios within a round. The bound is a measured copy of the
bytes that 8 passes over the input move: 4 times its size, read and written.
`+ malloc` is with glibc's thresholds raised, so that large arrays are kept for
the next ones (bn_jax/allocator.py): bn_jax, Flax and the copy have it there,
PyTorch has not, so that its ratios in these rows flatter bn_jax."""

_FROM = 4 << 20  # bytes
_OTHERS = {'flax': "Flax's time", 'copy': 'the bound'}
_ASKED = """\
Asked of bn_jax in float32 on a CPU: no shape slower than Flax, and from 4 MB up
at most 0.9 of its time and twice the bound. What misses that:"""

_MEMORY = """\
`kept` is what the forward pass keeps for the backward pass; `temporary` is what
XLA allocates beside arguments and results for both passes in one program.
`peak` is the most that is held at once: on a CPU arguments, results and
temporary arrays of the compiled program, on a GPU what the allocator of JAX or
PyTorch counted over a call."""
