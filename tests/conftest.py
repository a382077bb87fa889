"""Eight host devices, a compilation cache of the session's own, tiny data."""

import os

import jax
import pytest
import resuming
import tiny

import bn_jax
from bn_jax import programs, train

# Before the first device is touched, and not in the environment: programs
# that a test starts find the machine as it is.
jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))
if 'host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
  jax.config.update('jax_num_cpu_devices', 8)


@pytest.fixture(scope='session')
def shared(tmp_path_factory):
  """A folder that all workers of a session have in common."""
  base = tmp_path_factory.getbasetemp()
  return base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base


@pytest.fixture(scope='session', autouse=True)
def compilation_cache(shared):
  """The same for all workers of a session: each program compiles once."""
  jax.config.update('jax_compilation_cache_dir', str(shared / 'xla'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


@pytest.fixture(scope='module')
def own_sets(shared):
  """MNIST-1D is as this session makes it, not as the user's cache has it."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(shared / 'cache'))
    yield


@pytest.fixture
def traces(tmp_path, monkeypatch):
  """Where a command that starts now keeps what it traces."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', str(tmp_path))
  monkeypatch.setattr(programs, '_keeping', True)
  # As if a test session had not written any file that is imported.
  monkeypatch.setattr(bn_jax, 'STARTED', bn_jax.STARTED + 1e6)
  yield tmp_path / 'traces'
  jax.config.update('jax_compilation_cache_dir', before)


@pytest.fixture
def compiles_fast():
  """For tests of many programs: half the time to compile, slower to run."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='session')
def dataset():
  return tiny.dataset()


@pytest.fixture
def num_devices(monkeypatch):
  """Calling it with n lets a population see the first n devices only."""
  every = jax.devices()

  def limit(number):
    if len(every) < number:
      pytest.skip(f'needs {number} devices')
    monkeypatch.setattr(jax, 'devices', lambda *_: every[:number])

  return limit


@pytest.fixture
def clouds(monkeypatch, num_devices):
  """Runs learn to tell clouds apart, on two devices."""
  monkeypatch.setattr(train, 'load', lambda config: tiny.dataset())
  num_devices(2)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  """Made by the first test that asks, with the patches of that test."""
  return tmp_path_factory.mktemp('undisturbed')


@pytest.fixture
def wanted(clouds, undisturbed):
  """What a run that nothing stopped leaves."""
  if not (undisturbed / 'summary.json').exists():
    resuming.fit(undisturbed)
  return resuming.ended(undisturbed)
