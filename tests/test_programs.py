"""What is traced is kept for the next command, and never used when stale.

Planted and seen: an entry whose sources are not looked at, one that is kept
although a source is of this moment, a key without `about`, the shapes or JAX's
settings, an entry read without its digest, the first entries kept in place of
the latest, a removal that another process is quicker at and that ends in an
error, a key without the backend or the version of any one library.
"""

import importlib
import os
import pathlib
import shutil
import sys
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
import pytest

import bn_jax
from bn_jax import programs
from bn_jax.programs import Kept


class Counted:
  """A function of trees that counts how often it is traced."""

  def __init__(self):
    self.traced = 0

  def __call__(self, tree, x):
    self.traced += 1
    return {'sum': tree['a'] + x, 'rest': (x * 2, None)}


A, X = {'a': jnp.arange(3.0)}, jnp.ones(3)


def times_traced(about='about', arguments=(A, X)):
  """Traces that another process would make."""
  function = Counted()
  found = Kept(function, about)(*arguments)
  wanted = Counted()(*arguments)
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  return function.traced


def test_what_was_traced_is_not_traced_again(traces):
  assert times_traced() > 0
  assert times_traced() == 0


def test_only_a_command_keeps(traces, monkeypatch):
  monkeypatch.setattr(programs, '_keeping', False)
  assert times_traced() == times_traced() == 1
  assert not traces.exists()


def test_another_program_is_another(traces):
  times_traced()
  assert times_traced('else') > 0
  assert times_traced(arguments=({'a': jnp.ones((2, 3))}, X)) > 0
  assert times_traced(arguments=({'a': jnp.arange(3)}, X)) > 0
  assert times_traced() == 0


def test_another_setting_of_jax_is_another(traces):
  times_traced()
  jax.config.update('jax_default_matmul_precision', 'float32')
  try:
    assert times_traced() > 0
  finally:
    jax.config.update('jax_default_matmul_precision', None)
  assert times_traced() == 0


@pytest.mark.parametrize(
  'what, name',
  [
    *((library, '__version__') for library in (jax, jaxlib, flax, optax, np)),
    (sys, 'version'),
  ],
)
def test_another_version_is_another(traces, monkeypatch, what, name):
  times_traced()
  with monkeypatch.context() as patch:
    patch.setattr(what, name, getattr(what, name) + '1')
    assert times_traced() > 0
  assert times_traced() == 0


def test_another_backend_is_another(traces, monkeypatch):
  """What was exported for one cannot be called on another."""
  times_traced()
  with monkeypatch.context() as patch:
    patch.setattr(jax, 'default_backend', lambda: 'another')
    assert times_traced() > 0
  assert times_traced() == 0


def test_two_copies_keep_their_own(traces, tmp_path, monkeypatch):
  """Fault: a key without the place, so that each overwrites the other's."""
  copy = shutil.copy2(bn_jax.__file__, tmp_path / 'copy.py')
  times_traced()
  with monkeypatch.context() as patch:
    patch.setattr(bn_jax, '__file__', str(copy))
    assert times_traced() > 0
    assert times_traced() == 0
  assert times_traced() == 0


def test_the_latest_entries_stay(traces, monkeypatch):
  monkeypatch.setattr(programs, 'MOST', 2)
  for number, name in enumerate('abc'):
    before = set(traces.iterdir()) if traces.exists() else set()
    times_traced(name)
    (new,) = set(traces.iterdir()) - before
    os.utime(new, (number, number))
  assert len(list(traces.iterdir())) == 2
  assert times_traced('b') == times_traced('c') == 0
  assert times_traced('a') > 0


def test_an_entry_that_another_process_removes_is_no_error(traces, monkeypatch):
  times_traced('a')
  listed = pathlib.Path.iterdir
  monkeypatch.setattr(programs, 'MOST', 1)
  monkeypatch.setattr(
    pathlib.Path, 'iterdir', lambda self: [*listed(self), self / 'gone']
  )
  assert times_traced('b') > 0
  assert times_traced('b') == 0


@pytest.fixture
def module(tmp_path, monkeypatch):
  """The file of an imported module of the user's own."""
  path = tmp_path / 'own_strategy_of_a_test.py'
  path.write_text('FACTOR = 1\n')
  monkeypatch.syspath_prepend(tmp_path)
  importlib.import_module(path.stem)
  yield path
  del sys.modules[path.stem]


def test_an_edited_source_is_traced_anew(traces, module):
  assert times_traced() > 0
  assert times_traced() == 0
  module.write_text('FACTOR = 2\n')  # as long as before
  assert times_traced() > 0
  assert times_traced() == 0


def test_a_source_from_another_folder_is_traced_anew(traces, module):
  times_traced()
  shutil.copy2(module, module.with_suffix('.copy'))
  sys.modules[module.stem].__file__ = str(module.with_suffix('.copy'))
  assert times_traced() > 0


def test_a_missing_source_is_traced_anew(traces, module):
  times_traced()
  module.unlink()
  assert times_traced() > 0


def test_what_may_have_changed_since_it_was_imported_is_not_kept(
  traces, module, monkeypatch
):
  edited = os.stat(module).st_mtime
  monkeypatch.setattr(bn_jax, 'STARTED', edited + 1)
  times_traced()
  assert not traces.exists()
  os.utime(module, (edited - 100, edited - 100))  # as cp -p leaves it
  times_traced()
  assert not traces.exists()
  monkeypatch.setattr(bn_jax, 'STARTED', edited + 3)
  times_traced()
  assert len(list(traces.iterdir())) == 1


def test_a_damaged_file_is_traced_anew(traces):
  times_traced()
  (path,) = traces.iterdir()
  whole = path.read_bytes()
  flipped = [
    whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in (0, 40, -2)
  ]
  damaged = [b'', whole[:10], whole[:-1], *flipped]
  for data in damaged:
    path.write_bytes(data)
    assert times_traced() > 0
    assert path.read_bytes() != data
  assert times_traced() == 0


def test_a_folder_that_takes_nothing_costs_nothing_else(traces):
  traces.write_text('in the way')
  assert times_traced() > 0
  assert times_traced() > 0


def test_nothing_but_the_entry_is_left(traces, monkeypatch):
  def fail(*_):
    raise OSError('no space')

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, 'replace', fail)
    times_traced()
  assert not list(traces.iterdir())
  times_traced()
  (path,) = traces.iterdir()
  assert len(path.name) == 64


def test_what_calls_back_into_python_is_not_kept(traces):
  seen = []

  def function(x):
    jax.debug.callback(seen.append, x)
    return x + 1

  assert Kept(function, 'callback')(1 * X)[0] == 2
  jax.effects_barrier()
  assert len(seen) == 1
  assert not traces.exists()


def test_what_cannot_be_pickled_is_not_kept(traces):
  class Mine(NamedTuple):
    x: jax.Array

  assert Kept(Mine, 'local')(X).x is not None
  assert not traces.exists()


@pytest.mark.parametrize(
  'name, value',
  [
    ('jax_enable_compilation_cache', False),
    ('jax_debug_nans', True),
    ('jax_debug_infs', True),
  ],
)
def test_nothing_is_kept_where_jax_is_told_so(traces, name, value):
  before = getattr(jax.config, name)
  jax.config.update(name, value)
  try:
    times_traced()
  finally:
    jax.config.update(name, before)
  assert not traces.exists()


def test_an_error_of_the_function_is_its_own(traces):
  def function(x):
    raise ValueError('mine')

  with pytest.raises(ValueError, match='mine'):
    Kept(function, 'error')(X)
