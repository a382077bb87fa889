"""Jitted functions whose traces the commands keep on disk.

JAX keeps what XLA made of a program between processes, but not what Python
made of it: tracing and lowering a network takes longer than loading it. A
trace is kept beside JAX's cache, as `jax.export` writes it, and used again
while every source file that was imported when it was made is as it was then,
by size and time, the rule by which Python uses its own bytecode again. An
edited strategy is thus traced anew. The latest entries stay, `MOST` of them.
"""

import contextlib
import hashlib
import os
import pathlib
import pickle
import sys
import tempfile
import zlib
from collections.abc import Callable

import jax
import scipy.linalg  # noqa: F401 - JAX needs it to call what was exported
from jax import export

import bn_jax

# File systems round their times; a younger file may be another than the one
# that was imported.
MARGIN_SECONDS = 2
MOST = 1000  # entries, of some 30 KB each
# By version too: some installers give every file the same time, and a file
# may be as long as it was.
_LIBRARIES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
_keeping = False


def keep(caller: str) -> None:
  """Lets programs keep their traces in a command, which patches nothing.

  Args:
    caller: its `__name__`; a script or test that calls a command's `main` may
      have patched anything.
  """
  global _keeping
  _keeping = _keeping or caller == '__main__'


class Kept:
  """A jitted function for arguments of any shapes.

  In a command its traces are kept; elsewhere, where functions may be patched
  or written as one goes, it is `jax.jit`.
  """

  def __init__(self, function: Callable, about: str):
    """Traces nothing yet.

    Args:
      function: What is jitted.
      about: All that it depends on besides its arguments and the code.
    """
    self._plain, self._about, self._known = jax.jit(function), about, {}

  def __call__(self, *args):
    """What the function returns."""
    return self.of(*args)(*args)

  def of(self, *args):
    """The jitted function for arguments like these, or of these shapes."""
    folder = _folder()
    if folder is None:
      return self._plain
    leaves, tree = jax.tree.flatten(args)
    like = str([(x.shape, x.dtype) for x in leaves] + [tree])
    if like not in self._known:
      path = folder / _digest(self._about + like)
      self._known[like] = _read(path) or _make(path, self._plain, args)
    return self._known[like]


def _folder() -> pathlib.Path | None:
  """Where traces are kept; None where they are not."""
  base = jax.config.jax_compilation_cache_dir
  asked = _keeping and jax.config.jax_enable_compilation_cache
  debugged = (
    jax.config.jax_disable_jit
    or jax.config.jax_debug_nans
    or jax.config.jax_debug_infs
  )
  if not asked or debugged or jax.process_count() > 1:
    return None
  return pathlib.Path(base) / 'traces' if base and '://' not in base else None


def _digest(text) -> str:
  versions = [sys.modules[n].__version__ for n in _LIBRARIES]
  setting = [jax.default_backend(), sorted(jax.config.values.items())]
  about = [text, bn_jax.__file__, sys.version, versions, setting]
  return hashlib.sha256(repr(about).encode()).hexdigest()


def _read(path):
  """The function that is kept at `path`, if it still is what the code says."""
  try:
    data = path.read_bytes()
    digest, data = data[:32], data[32:]
    if hashlib.sha256(data).digest() != digest:
      return None
    sources, exported, outputs = pickle.loads(zlib.decompress(data))
    if not all(_unchanged(name, stamp) for name, stamp in sources.items()):
      return None
    return _call(export.deserialize(exported), pickle.loads(outputs))
  except Exception:  # whatever is wrong with it, it is made anew
    return None


def _make(path, plain, args):
  """Traces the function and keeps it, if it is of a kind that can be."""
  leaves, tree = jax.tree.flatten(args)
  flat = jax.jit(
    lambda *leaves: jax.tree.leaves(plain(*jax.tree.unflatten(tree, leaves)))
  )
  outputs = jax.tree.structure(jax.eval_shape(plain, *args))
  try:
    exported = export.export(flat)(*leaves)
    sources = _sources()
    found = sources, exported.serialize(), pickle.dumps(outputs)
  # It calls back into Python, say, or returns what cannot be pickled. What is
  # wrong with the function itself, the trace above has told.
  except Exception:
    return plain
  if sources is not None:
    _write(path, zlib.compress(pickle.dumps(found), 1))
  return _call(exported, outputs)


def _call(exported, outputs):
  def call(*args):
    return jax.tree.unflatten(outputs, exported.call(*jax.tree.leaves(args)))

  return jax.jit(call)


def _sources():
  """{module: its file, size and time}; None if one is of this moment."""
  latest = (bn_jax.STARTED - MARGIN_SECONDS) * 1e9
  found = {}
  for name, module in list(sys.modules.items()):
    file = getattr(module, '__file__', None)
    # Some modules that are made while a program runs name a file of no folder.
    if name == '__main__' or not file or not os.path.dirname(file):
      continue
    found[name] = _stamp(file)
    # A file that was moved here may be old; that it was moved, is told.
    if found[name] is None or max(_changed(file), found[name][-1]) > latest:
      return None
  return found


def _changed(file):
  return os.stat(file).st_ctime_ns


def _unchanged(name, stamp) -> bool:
  file = getattr(sys.modules.get(name), '__file__', None) or stamp[0]
  return stamp == _stamp(file)


def _stamp(file):
  try:
    status = os.stat(file)
  except OSError:
    return None
  return file, status.st_size, status.st_mtime_ns


def _write(path, data):
  """Whole or not at all; a disk that takes nothing costs the next start."""
  with contextlib.suppress(OSError):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
      part = pathlib.Path(file.name)
      try:
        file.write(hashlib.sha256(data).digest() + data)
        file.flush()
        part.replace(path)
      finally:
        part.unlink(missing_ok=True)
    latest = sorted(path.parent.iterdir(), key=os.path.getmtime, reverse=True)
    for old in latest[MOST:]:
      old.unlink(missing_ok=True)
