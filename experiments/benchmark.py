"""Measures how fast something is, against what else people use.

python -m experiments.benchmark NAME           prints the tables
python -m experiments.benchmark NAME --help    its flags, and how long it takes

Each NAME is a file of experiments/benchmarks/ with a main(argv):
"""

import ast
import importlib
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / 'benchmarks'


def benchmarks():
  """{name: the first line of its docstring}, read without importing any."""
  found = {}
  for path in sorted(FOLDER.glob('*.py')):
    tree = ast.parse(path.read_text())
    if any(getattr(node, 'name', None) == 'main' for node in tree.body):
      found[path.stem] = (ast.get_docstring(tree) or '').partition('\n')[0]
  return found


def main(argv):
  """Runs the benchmark that is named first; returns the exit code."""
  name, *rest = argv or ['--help']
  known = benchmarks()
  if name in ('-h', '--help'):
    print(__doc__)
    for name, line in known.items():
      print(f'  {name:<14}{line}')
    return 0
  if name not in known:
    allowed = ', '.join(known)
    print(f'error: benchmark: {name!r}; allowed are {allowed}', file=sys.stderr)
    return 2
  return importlib.import_module(f'experiments.benchmarks.{name}').main(rest)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
