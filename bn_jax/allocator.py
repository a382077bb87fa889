"""glibc's allocator, told to keep large blocks: opt-in, and before JAX.

Left alone, glibc takes each large array from the kernel and hands it back when
it is freed, so that every large output is paid for in page faults: on a CPU
as much as the arithmetic. With its thresholds raised, freed blocks are kept
and used again. It costs memory that is kept, and may slow tiny programs.
"""

import ctypes
import os
import sys

from bn_jax.errors import UserError

# 1 in the environment opts in, for every command.
VARIABLE = 'BN_JAX_MALLOPT'

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MOST = 2**30


def raise_thresholds() -> bool:
  """Keeps freed blocks of up to 1 GiB for the next array, in one arena.

  Call it before JAX is imported: arrays that exist by then are unaffected.

  Returns:
    Whether it took effect: False on anything but Linux with glibc.
  """
  if not sys.platform.startswith('linux'):
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (OSError, AttributeError):
    return False  # another C library
  settings = (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD), (_M_ARENA_MAX,)
  done = [mallopt(name, _MOST) for name in settings[0]]
  return all([*done, *(mallopt(name, 1) for name in settings[1])])


def opt_in() -> None:
  """Raises the thresholds if the environment asks for it.

  Raises:
    UserError: For a value that is neither 1, 0 nor empty.
  """
  value = os.environ.get(VARIABLE, '')
  if value not in ('', '0', '1'):
    raise UserError(f'{VARIABLE}: {value!r}; allowed are 1 and 0')
  if value == '1':
    raise_thresholds()
