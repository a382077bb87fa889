"""What has to be set before JAX wakes up: host devices and caches.

Floor 0. On a CPU each core becomes a device of its own, because one run per
core beats one run on all cores.
"""

import os
import pathlib


def cache_dir() -> pathlib.Path:
  """Where compiled programs are kept between runs."""
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'bn_jax' / 'xla'


def set_up() -> None:
  """Configures JAX; call it before anything touches a device.

  Flags that the user has set (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS` with a number
  of host devices, `JAX_COMPILATION_CACHE_DIR`) are left alone.
  """
  import jax

  forced = 'host_platform_device_count' in os.environ.get('XLA_FLAGS', '')
  if not forced and 'JAX_NUM_CPU_DEVICES' not in os.environ:
    jax.config.update('jax_num_cpu_devices', len(os.sched_getaffinity(0)))
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    jax.config.update('jax_compilation_cache_dir', str(cache_dir()))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
