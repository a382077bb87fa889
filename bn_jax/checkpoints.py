"""The states that a run can resume from, written by orbax.

A checkpoint holds the state of every member as flat arrays, and `about`: what
is needed to know that the arrays, and the curves up to here, are whole. Orbax
writes beside and renames, so one that was not finished does not count.
"""

import contextlib
import errno
import logging
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterator

import jax
import numpy as np

from bn_jax import trees
from bn_jax.errors import UserError


class Checkpoints:
  """The folder `checkpoints` of a workdir. Of several processes, one opens it.

  The newest `keep` stay, and the best by validation.
  """

  def __init__(self, path: pathlib.Path, keep: int):
    """Opens the folder, makes it if need be, removes what was not finished.

    Args:
      path: The workdir.
      keep: How many of the newest checkpoints stay.

    Raises:
      UserError: If it cannot be written.
    """
    import orbax.checkpoint as ocp  # half a second: not for short runs

    # What fails is raised, too, and then told in one line.
    logging.getLogger('absl').setLevel(logging.CRITICAL)
    self._ocp, self.path = ocp, path.resolve() / 'checkpoints'
    policy = ocp.checkpoint_managers.preservation_policy
    stay = [
      policy.LatestN(keep),
      policy.BestN(get_metric_fn=_accuracy, n=1),
    ]
    with _written(self.path):
      self.path.mkdir(parents=True, exist_ok=True)
      self._manager = ocp.CheckpointManager(
        self.path,
        item_names=('state', 'about'),
        options=ocp.CheckpointManagerOptions(
          create=False,
          cleanup_tmp_directories=True,
          best_fn=_accuracy,
          preservation_policy=policy.AnyPreservationPolicy(stay),
          multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix='writer',
          ),
        ),
      )

  def steps(self) -> list[int]:
    """The steps that there are finished checkpoints of, newest first."""
    return sorted(self._manager.all_steps(), reverse=True)

  def save(self, step: int, state, about: dict, accuracy: float) -> None:
    """Starts to write a checkpoint; the run goes on meanwhile.

    Args:
      step: How many steps were taken.
      state: A tree of NumPy arrays, which must not change from now on.
      about: What else to note, as JSON.
      accuracy: On the validation part: the higher, the better.

    Raises:
      UserError: If this one or the one before cannot be written.
    """
    arrays = _flat(state)
    about = {**about, 'checksum': _checksum(arrays), 'shapes': _shapes(arrays)}
    args = self._ocp.args
    with _written(self.path):
      self._manager.save(
        step,
        args=args.Composite(
          state=args.StandardSave(arrays), about=args.JsonSave(about)
        ),
        metrics={'accuracy': accuracy},
      )

  def about(self, step: int) -> dict:
    """What `save` was told about the checkpoint.

    Raises:
      Damaged: If it cannot be read.
    """
    args = self._ocp.args
    with _read(step):
      return self._manager.restore(
        step, args=args.Composite(about=args.JsonRestore())
      )['about']

  def restore(self, step: int, like):
    """The state at a step, NumPy arrays in the structure of `like`.

    Raises:
      Damaged: If it is not as it was written.
      UserError: If it is of another model.
    """
    about, wanted = self.about(step), _shapes(_flat(like))
    different = _difference(about['shapes'], wanted)
    if different:
      raise UserError(
        f'checkpoints: {self.path}/{step} is of another model; {different}; '
        'delete the folder to start afresh'
      )
    abstract = {
      name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
      for name, leaf in _flat(like).items()
    }
    args = self._ocp.args
    with _read(step):
      found = self._manager.restore(
        step, args=args.Composite(state=args.StandardRestore(abstract))
      )['state']
      arrays = {name: np.asarray(found[name]) for name in abstract}
      if _checksum(arrays) != about['checksum']:
        raise ValueError('its checksum does not match')
    return jax.tree.unflatten(jax.tree.structure(like), list(arrays.values()))

  def drop_after(self, step: int) -> None:
    """Removes the checkpoints of later steps."""
    for later in self.steps():
      if later > step:
        shutil.rmtree(self.path / str(later), ignore_errors=True)
    self._manager.reload()

  def wait(self) -> None:
    """Returns when what was begun is on the disk.

    Raises:
      UserError: If it could not be written.
    """
    with _written(self.path):
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits and lets go of the folder.

    Raises:
      UserError: If what was begun could not be written.
    """
    self.wait()
    with _written(self.path):  # another part of the same one may have failed
      self._manager.close()


class Damaged(Exception):  # noqa: N818 - it is a state, and it is handled
  """A checkpoint is not as it was written; says which and why."""


@contextlib.contextmanager
def _written(path) -> Iterator[None]:
  """Orbax's many errors as one line."""
  try:
    yield
  except Exception as error:
    text = ' '.join(str(error).split())
    told = [x for x in map(os.strerror, errno.errorcode) if x in text]
    reason = max(told, key=len, default=text[:200] or type(error).__name__)
    raise UserError(
      f'workdir: a checkpoint cannot be written to {path}: {reason}'
    ) from error


@contextlib.contextmanager
def _read(step) -> Iterator[None]:
  try:
    yield
  except Exception as error:
    reason = ' '.join(str(error).split())[:100] or type(error).__name__
    raise Damaged(f'checkpoint {step} is damaged ({reason})') from error


def _accuracy(metrics) -> float:
  return metrics['accuracy']


def _flat(state) -> dict:
  """Leaves by name; Orbax has its own use for a slash."""
  names = [name.replace('/', '.') for name in trees.names(state)]
  return dict(zip(names, jax.tree.leaves(state), strict=True))


def _shapes(arrays) -> dict[str, str]:
  return {k: f'{x.dtype}{list(x.shape)}' for k, x in arrays.items()}


def _checksum(arrays) -> int:
  total = 0
  for array in arrays.values():
    total = zlib.crc32(np.ascontiguousarray(array).view(np.uint8), total)
  return total


def _difference(found: dict, wanted: dict) -> str:
  for name in sorted(found.keys() | wanted.keys()):
    there, here = found.get(name, 'missing'), wanted.get(name, 'missing')
    if there != here:
      return f'{name} is {there} there, {here} here'
  return ''
