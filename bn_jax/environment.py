"""Where numbers were made: versions, devices, commit, data."""

import os
import pathlib
import platform
import subprocess
from importlib import metadata

import jax

import bn_jax

# What a number may depend on; the generator of MNIST-1D calls scipy.
PACKAGES = (
  'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'scipy', 'mnist1d',
  'tensorflow-datasets',
)  # fmt: skip


def here(data: str = '') -> dict:
  """Describes this process.

  Args:
    data: The data set with its version, if there is one.
  """
  return {
    'bn_jax': bn_jax.__version__,
    'commit': _commit(),
    'python': platform.python_version(),
    'machine': platform.machine(),
    'cores': len(os.sched_getaffinity(0)),
    'devices': [f'{d.platform}:{d.device_kind}' for d in jax.devices()],
    'processes': jax.process_count(),
    'packages': {name: metadata.version(name) for name in PACKAGES},
    **({'data': data} if data else {}),
  }


def _commit() -> str:
  """The commit of the checkout, with a `+` if it was edited; '' elsewhere."""
  root = pathlib.Path(bn_jax.__file__).parent.parent
  if not (root / '.git').exists():
    return ''
  command = ['git', '-C', str(root), 'describe', '--always', '--dirty=+']
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=5)
  except (OSError, subprocess.TimeoutExpired):
    return ''
  return done.stdout.strip()
