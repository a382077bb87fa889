"""What has to be set before JAX wakes up: host devices, caches, processes.

On a CPU each core becomes a device of its own, because one run per
core beats one run on all cores.
"""

import gc
import os
import pathlib

from bn_jax import watch
from bn_jax.errors import UserError

# Seconds until a process that nobody hears of counts as lost; the others end.
LOST_SECONDS = 30
# JAX's own limit: an abort, where ours does not come first.
ABORT_SECONDS = 100
# Seconds that processes wait for each other at the start.
START_SECONDS = 300


def cache_dir() -> pathlib.Path:
  """Where compiled programs are kept between runs."""
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'bn_jax' / 'xla'


def set_up(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Configures JAX; call it before anything touches a device.

  Flags that the user has set (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS` with a number
  of host devices, `JAX_COMPILATION_CACHE_DIR`) are left alone.

  Args:
    coordinator: host:port of process 0, where several processes are one run.
    num_processes: How many there are.
    process_id: Which one this is, from 0. Where none of the three is given,
      JAX finds them itself under Slurm (in a step of several tasks) and on a
      TPU pod.

  Raises:
    UserError: For a part of the three, if the processes do not meet, or for
      devices asked for by the environment that are not here.
  """
  import jax

  forced = 'host_platform_device_count' in os.environ.get('XLA_FLAGS', '')
  if not forced and 'JAX_NUM_CPU_DEVICES' not in os.environ:
    jax.config.update('jax_num_cpu_devices', len(os.sched_getaffinity(0)))
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    jax.config.update('jax_compilation_cache_dir', str(cache_dir()))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
  # Tracing makes many objects, so the collector would walk all that was
  # imported several times: a tenth of a second each.
  gc.freeze()
  given = check(coordinator, num_processes, process_id)
  connected = given or in_cluster()
  if connected:
    _connect(given)
  _check_devices(connected)


def _check_devices(connected):
  import jax

  count = jax.config.jax_num_cpu_devices
  if count == 0 or count < -1:
    raise UserError(f'JAX_NUM_CPU_DEVICES: {count}; at least 1')
  platforms = os.environ.get('JAX_PLATFORMS')
  try:
    jax.devices()
  except (AssertionError, RuntimeError) as error:  # JAX's, for a known name
    if not platforms:
      raise
    reason = ' '.join(str(error).split())[:200] or 'there is no such device'
    here = '' if connected else f' or one of what is here: {_platforms()}'
    raise UserError(
      f'JAX_PLATFORMS: {platforms!r}; JAX finds none of it ({reason}); '
      f'leave it unset{here}'
    ) from None


def _platforms():
  """What JAX finds where it is free to look."""
  import jax

  jax.config.update('jax_platforms', '')
  return ', '.join(sorted({d.platform for d in jax.devices()} | {'cpu'}))


def check(coordinator, num_processes, process_id) -> dict:
  """The three flags as arguments of `jax.distributed`; {} if none is given.

  Raises:
    UserError: For a part of the three, or a number out of range.
  """
  flags = {
    'coordinator': coordinator,
    'num-processes': num_processes,
    'process-id': process_id,
  }
  missing = [f'--{name}' for name, value in flags.items() if value is None]
  if len(missing) == len(flags):
    return {}
  if missing:
    raise UserError(
      f'flags: {" and ".join(missing)} missing; --coordinator=HOST:PORT, '
      '--num-processes=N and --process-id=I go together'
    )
  if num_processes < 1:
    raise UserError(f'--num-processes: {num_processes}; at least 1')
  if not 0 <= process_id < num_processes:
    raise UserError(
      f'--process-id: {process_id}; 0 to {num_processes - 1} are allowed'
    )
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise UserError(f'--coordinator: {coordinator!r}; must be HOST:PORT')
  return {
    'coordinator_address': coordinator,
    'num_processes': num_processes,
    'process_id': process_id,
  }


def in_cluster() -> bool:
  """Whether this is one of several tasks of a Slurm step or of a TPU pod."""
  tasks = os.environ.get('SLURM_STEP_NUM_TASKS', '1')
  workers = os.environ.get('TPU_WORKER_HOSTNAMES', '')
  return (tasks.isdigit() and int(tasks) > 1) or ',' in workers


def _connect(given):
  import jax

  if given.get('num_processes') == 1:
    return
  try:
    jax.distributed.initialize(
      **given,
      initialization_timeout=START_SECONDS,
      heartbeat_timeout_seconds=ABORT_SECONDS,
    )
  except Exception as error:
    reason = ' '.join(str(error).split())[:200]
    raise UserError(
      f'--coordinator: the processes did not meet within {START_SECONDS} s '
      f'({reason})'
    ) from None
  # The client is not public, and there is no other way to the store.
  from jax._src.distributed import global_state

  watch.start(global_state.client, jax.process_index(), LOST_SECONDS)
