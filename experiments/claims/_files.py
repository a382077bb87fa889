"""Files that are written whole, and whether they can be, before hours pass."""

import contextlib
import os
import pathlib
import tempfile

from bn_jax.errors import UserError


def write_text(path: pathlib.Path, text: str) -> pathlib.Path:
  """Writes a file that is either all there or as it was before.

  Raises:
    OSError: If it cannot be written.
  """
  partial = path.with_name(path.name + '.partial')
  with open(partial, 'w', encoding='utf-8') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, path)
  return path


def figures(doc: pathlib.Path) -> pathlib.Path:
  """Where the figures of a Markdown page are."""
  return doc.parent / 'figures' / 'claims'


def check_file(path: pathlib.Path, flag: str = '--workdir') -> None:
  """Refuses a path at which something stands that is no file.

  Raises:
    UserError: Names the path.
  """
  if path.exists() and not path.is_file():
    kind = 'a folder' if path.is_dir() else 'not a file'
    raise UserError(f'{flag}: {path} is {kind}; must be a file, new or old')


def check_doc(path) -> pathlib.Path:
  """Makes the folders of a Markdown page and its figures.

  Args:
    path: Of the page.

  Returns:
    The path.

  Raises:
    UserError: If the page cannot be written there.
  """
  path = pathlib.Path(path)
  with writing_doc(path):
    check_file(path, '--doc')
    for part in (figures(path), *figures(path).parents):
      if part.exists() and not part.is_dir():
        raise UserError(f'--doc: {path}; {part} is not a folder')
    figures(path).mkdir(parents=True, exist_ok=True)
    for folder in (path.parent, figures(path)):
      # The system's answer, which permissions alone do not give.
      with tempfile.TemporaryFile(dir=folder):
        pass
  return path


@contextlib.contextmanager
def writing_doc(path):
  """Turns the failure of a write of the page or its figures into one line."""
  try:
    yield
  except OSError as error:
    raise UserError(
      f'--doc: {path} cannot be written: {error.strerror}'
    ) from None
