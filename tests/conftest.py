"""Eight host devices, a compilation cache of the session's own, tiny data."""

import os

import jax
import pytest
import tiny

# Before the first device is touched, and not in the environment: programs
# that a test starts find the machine as it is.
jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))
if 'host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
  jax.config.update('jax_num_cpu_devices', 8)


@pytest.fixture(scope='session', autouse=True)
def compilation_cache(tmp_path_factory):
  """The same for all workers of a session: each program compiles once."""
  base = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    base = base.parent
  jax.config.update('jax_compilation_cache_dir', str(base / 'xla'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


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
