"""The claims that the laboratory tests: one file each, and no other list.

A file `name.py` in this folder is a claim. Its docstring starts with the
sentence; then it says where the sentence is from, what is measured and what
was agreed on before the run. It holds

  CRITERIA   a tuple of `bn_jax.criteria.Criterion`
  SECONDS    how long the full run takes on two cores, for the progress bar
  measure    (Lab) -> dict with `values` (quantity -> one number a seed),
             `figure` (what the figure needs), `numbers` (what else to tell,
             by name) and `settings`
  figure     (that dict) -> a matplotlib Figure

Files whose names start with `_` are what the claims share.
"""

import ast
import importlib
import pathlib

from bn_jax.errors import pick

_FOLDER = pathlib.Path(__file__).parent


def names() -> list[str]:
  """Every claim there is, by the name of its file."""
  return sorted(
    path.stem for path in _FOLDER.glob('*.py') if path.stem[0] != '_'
  )


def describe(name: str) -> tuple[str, str]:
  """A claim's sentence, and the rest of its docstring; imports nothing."""
  pick('--only', name, names())
  text = (_FOLDER / f'{name}.py').read_text(encoding='utf-8')
  doc = ast.get_docstring(ast.parse(text)) or ''
  sentence, _, rest = doc.partition('\n\n')
  return ' '.join(sentence.split()), rest


def load(name: str):
  """A claim's module."""
  pick('--only', name, names())
  return importlib.import_module(f'{__name__}.{name}')


def figure(workdir, name: str):
  """The figure of a claim that was measured in `workdir`.

  Returns:
    A matplotlib Figure.

  Raises:
    UserError: It was not measured there.
  """
  from bn_jax import results
  from bn_jax.plots import style
  from experiments.claims import _page

  result = results.read_json(pathlib.Path(workdir, 'results', f'{name}.json'))
  draw = style.styled(load(name).figure)
  return draw(_page.arrays(result['measured']))
