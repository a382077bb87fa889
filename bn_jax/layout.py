"""How a population's members map to devices, and how many fit at a time."""

import math
import os
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from bn_jax.errors import UserError

# What may be filled: the rest is for activations and the compiler's buffers.
FILL = 0.8
# What the indices of a chunk may take, which the host makes at once.
CHUNK_BYTES = 2**30


class Layout(NamedTuple):
  """How members map to devices."""

  mesh: Mesh
  """With axes `member` and `data`."""
  group: int
  """How many members of a device run as one `vmap`; groups run in turn."""
  slots: int
  """The number of members with the idle ones that fill the last group."""


def layout(num_members: int, data: int = 1, group: int = 0) -> Layout:
  """The platform's choice: on a CPU one core per member, else one `vmap`.

  Args:
    num_members: In the population.
    data: Devices that share a batch.
    group: Members under one `vmap`; 0 for the platform's choice.

  Raises:
    UserError: If there are fewer than `data` devices, or they do not divide,
      or some process would have none.
  """
  devices = jax.devices()
  if data > len(devices) or len(devices) % data:
    raise UserError(
      f'mesh.data: {data}; must divide the number of devices, which is '
      f'{len(devices)} ({devices[0].platform})'
    )
  rows = min(len(devices) // data, num_members)
  used = devices[: rows * data]
  idle = set(range(jax.process_count())) - {d.process_index for d in used}
  if idle:
    raise UserError(
      f'mesh.data: {data}; {num_members} members over {len(devices)} devices '
      f'leave {len(idle)} of {jax.process_count()} processes without work; '
      'split the batch further, or start fewer processes'
    )
  each = math.ceil(num_members / rows)
  if not group:  # batched matrix products are slow on a CPU
    group = 1 if devices[0].platform == 'cpu' else each
  slots = rows * math.ceil(each / group) * group
  grid = np.array(used).reshape(rows, data)
  return Layout(Mesh(grid, ('member', 'data')), group, slots)


def memory_limit() -> int:
  """Bytes of memory that one device may use.

  A CPU's devices share what the machine (or its control group) has.
  """
  device = jax.local_devices()[0]
  stats = device.memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit']
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  bound = pathlib.Path('/sys/fs/cgroup/memory.max')
  if bound.exists() and (text := bound.read_text().strip()).isdigit():
    total = min(total, int(text))
  return total // len(jax.local_devices())


def members_at_a_time(
  num_members: int, rows: int, each: int, shared: int, limit: int
) -> int:
  """How many members of a population fit the devices together.

  Args:
    num_members: Of the population.
    rows: Devices (or groups of devices that share a batch) in the mesh.
    each: Bytes that one member takes on its device.
    shared: Bytes on every device that the members share, such as the data.
    limit: Bytes of one device.

  Returns:
    At most `num_members`; less than that in as few rounds of one size as do.

  Raises:
    UserError: If not even one fits.
  """
  fit = int((FILL * limit - shared) // max(each, 1))
  if fit < 1:
    gib = 2.0**-30
    raise UserError(
      f'memory: one member takes {each * gib:.2g} GiB and the data '
      f'{shared * gib:.2g} GiB, but {FILL:.0%} of a device are '
      f'{FILL * limit * gib:.2g} GiB; a smaller model, data.limit or '
      'data.in_memory=False takes less'
    )
  rounds = math.ceil(num_members / (fit * rows))
  return math.ceil(num_members / rounds)


def check_chunk(config: dict, num_members: int) -> None:
  """Refuses more steps between evaluations than the host has room for.

  Args:
    config: A run's config as a nested dict.
    num_members: Of the population.

  Raises:
    UserError: Says how many steps are allowed.
  """
  log, total = config['log'], config['num_train_steps']
  steps = min(log['eval_every'], total)
  each = 4 * config['batch_size'] * num_members
  if not config['data']['in_memory'] or steps * each <= CHUNK_BYTES:
    return
  most = CHUNK_BYTES // each // log['every'] * log['every']
  raise UserError(
    f'log.eval_every: {log["eval_every"]}; the indices of {steps} steps take '
    f'{steps * each / 2**30:.3g} GiB ({num_members} members, batch_size '
    f'{config["batch_size"]}); at most {most}, for {CHUNK_BYTES / 2**30:.3g} '
    'GiB'
  )
