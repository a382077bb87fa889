"""Arms in processes of their own, whose bursts alternate."""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata

from rich.console import Console
from rich.table import Table


def options(doc, argv):
  """The flags that such benchmarks share."""
  parser = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--rounds', type=int, default=9, help='bursts per arm')
  parser.add_argument('--out', help='also write the tables to this .md file')
  return parser.parse_args(argv)


def serve(burst):
  """Runs a burst for each line on standard input; answers with its work."""
  print('ready', flush=True)
  for _ in sys.stdin:
    print(burst(), flush=True)


class Arm:
  """One or more processes that run their bursts at the same time."""

  def __init__(self, commands):
    """Starts the processes, each `python -m *command`; waits for none."""
    self.processes = [
      subprocess.Popen(
        [sys.executable, '-m', *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Else the first process on a GPU takes most of its memory.
        env={**os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'},
      )
      for command in commands
    ]

  def wait(self):
    """Blocks until every process is ready."""
    for process in self.processes:
      if process.stdout.readline().strip() != 'ready':
        raise RuntimeError(f'{process.args} ended before it was ready')

  def rate(self) -> float:
    """Work per second of one burst of all processes together."""
    began = time.perf_counter()
    for process in self.processes:
      process.stdin.write('go\n')
      process.stdin.flush()
    work = sum(int(p.stdout.readline()) for p in self.processes)
    return work / (time.perf_counter() - began)

  def close(self):
    """Ends the processes."""
    for process in self.processes:
      process.stdin.close()
      process.wait()


def measure(commands, rounds) -> dict[str, list[float]]:
  """The rate of each arm in each round; within a round the arms take turns."""
  arms = {}
  try:
    for name, each in commands.items():  # one at a time: compiling uses cores
      arms[name] = Arm(each)
      arms[name].wait()
    rates = {name: [] for name in arms}
    for number in range(rounds):
      print(f'\rround {number + 1} of {rounds}', end='', file=sys.stderr)
      for name, arm in arms.items():
        rates[name].append(arm.rate())
    print(file=sys.stderr)
  finally:
    for arm in arms.values():
      arm.close()
  return rates


def show(tables, ours, out, name):
  """Prints each table of rates, with the ratio of the arm `ours` to each.

  Args:
    tables: (title, {arm: rates}) each.
    ours: The arm that the others are compared with.
    out: Path of a Markdown file, or None.
    name: Of the benchmark, for the file's heading.
  """
  lines = [f'# Benchmark: {name}', '', *machine(), '']
  for title, rates in tables:
    shown = Table('', 'median', 'low', 'high', f'{ours} / this', title=title)
    lines += [f'## {title}', '', f'| | median | low | high | {ours} / this |']
    lines += ['| --- | --- | --- | --- | --- |']
    for arm, values in rates.items():
      # Ratios within a round: what slows the machine then slows both arms.
      pairs = zip(rates[ours], values, strict=True)
      ratio = statistics.median(a / b for a, b in pairs)
      row = [f'{f(values):,.0f}' for f in (statistics.median, min, max)]
      row.append(f'{ratio:.2f}')
      shown.add_row(arm, *row)
      lines.append(f'| {arm} | ' + ' | '.join(row) + ' |')
    lines.append('')
    Console().print(shown)
  if out:
    with open(out, 'w') as file:
      file.write('\n'.join(lines))


def machine() -> list[str]:
  """Hardware and versions, a line each, in Markdown."""
  names = ('jax', 'jaxlib', 'flax', 'torch')
  versions = []
  for package in names:
    try:
      versions.append(f'{package} {metadata.version(package)}')
    except metadata.PackageNotFoundError:
      versions.append(f'{package} not installed')
  cores = len(os.sched_getaffinity(0))
  return [
    f'- {cores} cores, {_processor()}',
    f'- Python {platform.python_version()}, {", ".join(versions)}',
    f'- {time.strftime("%Y-%m-%d")}',
  ]


def _processor() -> str:
  try:
    with open('/proc/cpuinfo') as file:
      for line in file:
        if line.startswith('model name'):
          return line.split(':')[1].strip()
  except OSError:
    pass
  return platform.machine()
