"""Several processes as one run: who writes, and what all must know.

With one process every function here is the obvious one.
"""

import contextlib
import json
import sys
import threading

import jax
import numpy as np

from bn_jax import stopping
from bn_jax.errors import UserError

STOP_SECONDS = 0.1  # until a signal is noticed


def first() -> bool:
  """Whether this process is the one that writes."""
  return jax.process_index() == 0


def put(tree, sharding):
  """Lays arrays out over the devices of all processes.

  Every process gives the same arrays; of a split one each keeps its part.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)

  def place(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

  return jax.tree.map(place, tree)


def fetch(tree, stoppable: bool = True):
  """Waits for arrays and brings them whole to every process, as NumPy's.

  Raises:
    Stopped: If a signal has asked to stop, and it is `stoppable` (one process;
      several stop together, where they agree on it).
  """
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)
  if stoppable:
    wait(tree)
  return jax.device_get(tree)


def give_way():
  """Stops where a signal has asked for it; several processes have to agree.

  Raises:
    Stopped: One process was asked to stop.
  """
  if jax.process_count() == 1 and stopping.requested():
    raise stopping.stopped('early')


def wait(tree):
  """Blocks in Python rather than in JAX, so that a signal gets through.

  Raises:
    Stopped: As `give_way` does.
  """
  leaves = [x for x in jax.tree.leaves(tree) if hasattr(x, 'is_ready')]
  ready = threading.Event()

  def block():
    with contextlib.suppress(Exception):  # whoever fetches them is told
      jax.block_until_ready(leaves)
    ready.set()

  give_way()
  if not all(x.is_ready() for x in leaves):
    # To look again and again instead takes 1% of its steps from a CPU. A daemon
    # that wakes while Python ends would abort the program.
    threading.Thread(target=block).start()
    while not ready.wait(STOP_SECONDS):
      give_way()


def share(tree):
  """What process 0 gives, on every process: arrays of the same shapes."""
  if jax.process_count() == 1:
    return tree
  from jax.experimental import multihost_utils

  return multihost_utils.broadcast_one_to_all(tree)


def on_first(function):
  """Runs a function on process 0; all return its value, or raise its error.

  Args:
    function: () -> what JSON can say.

  Raises:
    UserError: The same on every process, so that none waits for another.
  """
  if jax.process_count() == 1:
    return function()
  outcome = {}
  if first():
    try:
      outcome = {'value': function()}
    except UserError as error:
      outcome = {'error': str(error)}
  text = np.frombuffer(json.dumps(outcome).encode(), np.uint8)
  size = int(share(np.int32(len(text))))
  padded = np.zeros(size, np.uint8)
  if first():
    padded[:] = text
  outcome = json.loads(bytes(np.asarray(share(padded))))
  if 'error' in outcome:
    raise UserError(outcome['error'])
  return outcome['value']


def any_of(*flags: bool) -> tuple[bool, ...]:
  """For each flag, whether it is set on any process."""
  if jax.process_count() == 1:
    return flags
  from jax.experimental import multihost_utils

  votes = multihost_utils.process_allgather(np.array(flags))
  return tuple(bool(vote) for vote in votes.reshape(-1, len(flags)).any(0))


def say(text: str) -> None:
  """Tells the user a line, once."""
  if first():
    print(f'bn_jax: {text}', file=sys.stderr, flush=True)
