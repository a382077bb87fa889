"""How the house is built: floors, what may be imported, sizes, docstrings.

The floors are those of the table in docs/design.md, so that it stays true.

Planted and seen: a strategy that imports a model, `losses` that imports
`step`, a module that is in no row, a row without a module, jax in `results`,
flax in `functional`, flax.training, a config that imports models, a function
of 61 lines, an entry point that no test names.
"""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
NO_JAX = 'no JAX'
# Where a module imports one of its own floor, and why.
SIBLINGS = {
  ('fields', 'errors'): 'a field that is not there is an error',
  ('report', 'plots'): 'a page shows figures',
  ('report', 'results'): 'a page is made of a workdir',
  ('report', 'statistics'): 'and tells intervals',
  ('plots', 'statistics'): 'curves have intervals',
  ('agreement', 'results'): 'two workdirs are held against each other',
  ('agreement', 'statistics'): 'where they differ, by their means',
  ('criteria', 'statistics'): 'a verdict follows from an interval',
}
# Files may have so many lines, tests too.
LINES = 300
FUNCTION_LINES = 60
COMMAND_LINES = 60


def files(*folders):
  found = [p for f in folders for p in sorted((ROOT / f).glob('**/*.py'))]
  assert found
  return found


def name_of(path):
  return str(path.relative_to(ROOT))


def imports(path):
  """The dotted names of all that a file imports, wherever it does."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: a relative import'
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def floors():
  """Module or package -> floor, of the table."""
  text = (ROOT / 'docs' / 'design.md').read_text()
  text = text.partition('## Floors')[2]
  rows = re.findall(r'^\| (\d+|no JAX) \| (.*) \|$', text, re.M)
  found = {}
  for floor, modules in rows:
    for module in re.findall(r'`(\w+)`', modules):
      assert module not in found, f'{module} stands on two floors'
      found[module] = floor if floor == NO_JAX else int(floor)
  return found


def parts():
  """Every module or package right under bn_jax -> its files."""
  found = {}
  for path in files('bn_jax'):
    part = path.relative_to(ROOT / 'bn_jax').parts[0].removesuffix('.py')
    found.setdefault(part, []).append(path)
  del found['__init__']
  return found


def uses():
  """Which part imports which other: {(from, to): file}."""
  found, known = {}, parts()
  for part, paths in known.items():
    for path in paths:
      for name in imports(path):
        words = name.split('.')
        other = words[1] if words[0] == 'bn_jax' and words[1:] else part
        if other in known and other != part:
          found[part, other] = name_of(path)
  return found


def test_every_module_has_a_floor_and_every_floor_its_modules():
  assert set(parts()) == set(floors())


def test_modules_import_from_lower_floors_only():
  floor = floors()
  for (part, other), path in uses().items():
    here, there = floor[part], floor[other]
    if there == here:
      assert (part, other) in SIBLINGS, f'{path} imports {other}, a sibling'
    elif here == NO_JAX:
      assert there == 0, f'{path} has no JAX and imports {other}'
    else:
      assert there != NO_JAX and there < here, f'{path} imports {other}, above'
  assert set(SIBLINGS) <= set(uses()), 'a reason for what is not'


def loaded_by(module, heavy):
  """Which of the heavy packages an import loads, in a fresh interpreter."""
  code = f'import sys, {module}; print(*sys.modules)'
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  return set(done.stdout.split()) & set(heavy)


def test_reading_and_plotting_results_loads_no_jax():
  modules = [m for m, floor in floors().items() if floor == NO_JAX]
  heavy = {'jax', 'flax', 'optax', 'tensorflow', 'tensorflow_datasets'}
  named = ', '.join(f'bn_jax.{m}' for m in modules)
  assert not loaded_by(named, heavy)


def test_a_command_starts_without_anything_heavy():
  """`--help` and a typo are answered at once."""
  commands = [p.stem for p in (ROOT / 'experiments').glob('*.py')]
  named = ', '.join(f'experiments.{c}' for c in commands)
  heavy = {'jax', 'flax', 'numpy', 'pandas', 'ml_collections', 'matplotlib'}
  assert not loaded_by(f'bn_jax, {named}', heavy)


def test_the_functional_part_needs_no_flax():
  for path in files('bn_jax/functional'):
    packages = {name.split('.')[0] for name in imports(path)}
    assert packages <= {'jax', 'functools', 'math', 'typing', 'bn_jax'}, path


def test_of_flax_only_linen_and_struct():
  allowed = ('flax.linen', 'flax.struct')
  for path in files('bn_jax', 'configs'):
    for name in imports(path):
      if name.split('.')[0] == 'flax' and name != 'flax':
        assert name.startswith(allowed), f'{path} imports {name}'


def test_configs_import_their_defaults_alone():
  for path in files('configs'):
    own = {n for n in imports(path) if n.split('.')[0] != 'ml_collections'}
    assert own <= {'bn_jax.config'}, path


def test_the_package_imports_no_checkout():
  """The wheel holds `bn_jax` only."""
  for path in files('bn_jax'):
    packages = {name.split('.')[0] for name in imports(path)}
    assert not packages & {'configs', 'experiments', 'notebooks', 'tests'}


@pytest.mark.parametrize(
  'folder', ['bn_jax', 'experiments', 'configs', 'notebooks', 'tests']
)
def test_files_are_short(folder):
  for path in files(folder):
    lines = len(path.read_text().splitlines())
    assert lines < LINES, f'{path}: {lines} lines'


def length(node):
  """Lines of a function or module without its docstring."""
  first = node.body[0]
  doc = ast.get_docstring(node) is not None
  said = first.end_lineno - first.lineno + 1 if doc else 0
  return node.body[-1].end_lineno - getattr(node, 'lineno', 1) + 1 - said


def test_functions_are_short():
  for path in files('bn_jax', 'experiments', 'configs'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef):
        assert length(node) <= FUNCTION_LINES, f'{path}: {node.name}'


def test_commands_are_short():
  for path in (ROOT / 'experiments').glob('*.py'):
    assert length(ast.parse(path.read_text())) < COMMAND_LINES, path


def test_every_module_says_what_it_is():
  for path in files('bn_jax', 'experiments', 'configs'):
    assert ast.get_docstring(ast.parse(path.read_text())), path


def entry_points():
  """What a person runs by `python -m`, by its dotted name."""
  folder = ROOT / 'experiments'
  found = [p.stem for p in folder.glob('*.py') if p.stem != '__init__']
  found += [p.parent.name for p in folder.glob('*/__main__.py')]
  return [f'experiments.{name}' for name in found]


def test_every_entry_point_is_in_a_test():
  """By import, or by its name in a command line."""
  text, imported = '', set()
  for path in files('tests'):
    text += path.read_text()
    imported |= imports(path)
  assert len(entry_points()) > 1
  for name in entry_points():
    run = re.search(rf"['\" ]{re.escape(name)}(\.__main__)?['\" ]", text)
    known = any(i == name or i.startswith(f'{name}.') for i in imported)
    assert run or known, f'no test imports or runs {name}'
