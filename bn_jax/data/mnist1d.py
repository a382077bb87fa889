"""MNIST-1D (Greydanus & Kobak 2020, arXiv 2011.14439): made, not downloaded.

4,000 training and 1,000 test series of 40 values, 10 classes. The generator
takes 3 seconds with its imports, so what it made is kept in the user's cache.
"""

import importlib.metadata
import os
import pathlib
import random
import tempfile

import numpy as np

_ARRAYS = {
  'x': (np.float32, (4000, 40)),
  'y': (np.int32, (4000,)),
  'x_test': (np.float32, (1000, 40)),
  'y_test': (np.int32, (1000,)),
}


def arrays() -> dict[str, np.ndarray]:
  """Returns x (4000, 40), y (4000,), x_test (1000, 40) and y_test (1000,).

  Series are float32, labels int32.
  """
  path = cache_path()
  made = _read(path)
  if made is None:
    made = _make()
    _write(path, made)
  return made


def cache_path() -> pathlib.Path:
  """Returns where the set is kept: one file per version of what makes it."""
  root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  versions = [importlib.metadata.version(n) for n in ('mnist1d', 'scipy')]
  return pathlib.Path(root, 'bn_jax', f'mnist1d-{"-".join(versions)}.npz')


def _make():
  # The package seeds the global generators; the caller's must not notice.
  states = random.getstate(), np.random.get_state()
  try:
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())
  finally:
    random.setstate(states[0])
    np.random.set_state(states[1])
  return {k: made[k].astype(dtype) for k, (dtype, _) in _ARRAYS.items()}


def _read(path):
  """Returns the arrays, or None unless the file is there and whole."""
  try:
    with np.load(path, allow_pickle=False) as file:
      found = {k: file[k] for k in _ARRAYS}
  except Exception:  # absent, cut short, or not ours: it is made again
    return None
  whole = all(
    (found[k].dtype, found[k].shape) == spec for k, spec in _ARRAYS.items()
  )
  return found if whole else None


def _write(path, made):
  """Writes aside and renames, so that no reader sees half a file."""
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(dir=path.parent, delete=False)
    temporary = file.name
    with file:
      np.savez(file, **made)
    os.replace(temporary, path)
  except OSError:  # a full or read-only disk costs 3 seconds next time
    if temporary and os.path.exists(temporary):
      os.unlink(temporary)
