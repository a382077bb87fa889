"""When a run's state is saved, and which one it goes on from."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np

from bn_jax import hosts
from bn_jax.checkpoints import Checkpoints, Damaged
from bn_jax.records import Workdir


class Point(NamedTuple):
  """A moment of a run at which state and curves agree."""

  step: int
  """How many steps were taken."""
  state: Any
  """Of every member, on the devices or the host."""
  about: dict
  """The curves' length and checksum, and the time that was taken."""
  accuracy: float
  """On the validation part."""


class Saver:
  """The checkpoints of a run. Several processes agree; the first one writes."""

  def __init__(self, folder: Workdir, settings: dict):
    """Opens nothing yet: a short run has no checkpoints.

    Args:
      folder: Of the run.
      settings: `config.checkpoint`.
    """
    self._folder, self._settings = folder, settings
    self._checkpoints, self._restored = None, None
    self._saved, self._saved_step = time.monotonic(), 0

  def due(self) -> bool:
    """Whether it is time for a checkpoint."""
    return time.monotonic() - self._saved >= self._settings['seconds']

  def save(self, point: Point, host) -> None:
    """Writes a checkpoint while the run goes on.

    Args:
      point: What to save.
      host: (state) -> the state as NumPy arrays; run by every process.

    Raises:
      UserError: If it cannot be written.
    """
    if point.step == self._saved_step:
      return
    state = host(point.state)
    if hosts.first():
      about = {**point.about, 'step': point.step}
      self._open().save(point.step, state, about, point.accuracy)
    self._saved, self._saved_step = time.monotonic(), point.step

  def resume(self, like):
    """The newest checkpoint that is whole, with its curves.

    What cannot be used is named in a line, and the one before it is tried.

    Args:
      like: The state's shapes and dtypes on the host.

    Returns:
      (state, about), the same on every process, or None to start afresh.

    Raises:
      UserError: If a checkpoint is of another model.
    """
    about = hosts.on_first(lambda: self._find(like))
    if about is None:
      self._folder.rewind()
      return None
    state = self._restored
    if state is None:
      state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    self._restored, self._saved_step = None, about['step']
    self._folder.rewind(about['curves'])
    return hosts.share(state), about

  def _find(self, like):
    if not (self._folder.path / 'checkpoints').is_dir():
      return None
    checkpoints = self._open()
    for step in checkpoints.steps():
      try:
        about = checkpoints.about(step)
        if not self._folder.holds(about['curves']):
          raise Damaged(f'the curves up to step {step} are damaged')
        self._restored = checkpoints.restore(step, like)
      except Damaged as error:
        hosts.say(f'{error}; trying the checkpoint before it')
        continue
      checkpoints.drop_after(step)
      return about
    if checkpoints.steps():
      hosts.say('no checkpoint is whole; starting again from step 0')
      checkpoints.drop_after(-1)
    return None

  def _open(self):
    if self._checkpoints is None:
      self._checkpoints = Checkpoints(self._folder.path, self._settings['keep'])
    return self._checkpoints

  def in_use(self) -> bool:
    """Whether the run has checkpoints (on the process that writes)."""
    return self._checkpoints is not None

  def close(self) -> None:
    """Returns when what was begun is on the disk.

    Raises:
      UserError: If it could not be written.
    """
    if self._checkpoints is not None:
      self._checkpoints.close()
      self._checkpoints = None
