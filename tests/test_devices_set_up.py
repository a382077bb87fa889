"""What a command sets up before the first device: cores, and the cache.

Planted and seen: one device, one for each core of the machine, a cache that
ignores XDG_CACHE_HOME, one that takes it empty for a folder, one that keeps
only what took long, settings that overrule the user's.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = """
import json, os
from bn_jax import devices
devices.set_up()
import jax
jax.jit(lambda x: x + 1)(1.0)
print(json.dumps([len(jax.devices()), jax.config.jax_compilation_cache_dir]))
"""
OURS = ('JAX_', 'XLA_', 'XDG_CACHE_HOME')


@pytest.fixture
def set_up(tmp_path):
  """Runs `set_up` in a process with these variables, and none of the kind."""

  def run(**variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    home = {'HOME': str(tmp_path / 'home'), 'JAX_PLATFORMS': 'cpu'}
    home['PYTHONPATH'] = os.pathsep.join(sys.path)
    done = subprocess.run(
      [sys.executable, '-c', SCRIPT],
      env={**kept, **home, **variables},
      cwd=tmp_path,  # a cache in the wrong place is not in the tree
      capture_output=True,
      text=True,
      check=True,
    )
    count, cache = json.loads(done.stdout)
    return count, pathlib.Path(cache)

  return run


@pytest.mark.parametrize('variables', [{}, {'XDG_CACHE_HOME': ''}])
def test_a_device_per_core_and_a_cache_in_the_home(variables, set_up, tmp_path):
  count, cache = set_up(**variables)
  assert count == len(os.sched_getaffinity(0))
  assert cache == tmp_path / 'home' / '.cache' / 'bn_jax' / 'xla'
  assert any(cache.iterdir())  # a program that compiles in no time is kept


def test_cores_that_others_have_are_no_devices(set_up):
  """As under `taskset` or in a job that was given a part of a machine."""
  cores = os.sched_getaffinity(0)
  if len(cores) == 1:
    pytest.skip('needs two cores')
  os.sched_setaffinity(0, {min(cores)})  # and so of the process below
  try:
    count, _ = set_up()
  finally:
    os.sched_setaffinity(0, cores)
  assert count == 1


def test_the_cache_is_where_caches_are(set_up, tmp_path):
  _, cache = set_up(XDG_CACHE_HOME=str(tmp_path / 'mine'))
  assert cache == tmp_path / 'mine' / 'bn_jax' / 'xla'
  assert any(cache.iterdir()) and not (tmp_path / 'home').exists()


@pytest.mark.parametrize(
  'flag',
  [
    {'JAX_NUM_CPU_DEVICES': '3'},
    {'XLA_FLAGS': '--xla_force_host_platform_device_count=3'},
  ],
)
def test_what_the_user_has_set_is_left_alone(flag, set_up, tmp_path):
  wanted = tmp_path / 'other'
  count, cache = set_up(JAX_COMPILATION_CACHE_DIR=str(wanted), **flag)
  assert count == 3 and cache == wanted and any(wanted.iterdir())
