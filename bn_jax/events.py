"""Event files for TensorBoard, beside the curves: a folder for each member.

Written by tensorboardX, the extra `tensorboard`, which needs no TensorFlow.
"""

import importlib.util
import pathlib
import shutil
import time

import numpy as np

from bn_jax import hosts, records
from bn_jax.errors import UserError

FOLDER = 'tensorboard'
# What TensorBoard's table of hyperparameters shows beside them.
SCORES = ('validation/accuracy', 'validation/loss', 'test/accuracy')
# Each member has an open file; beyond this many, only the first ones.
MOST_MEMBERS = 256
BINS = 30
_NOT_TOLD = ('data', 'log', 'mesh', 'checkpoint', 'strategies', 'strategy')


def check(config: dict) -> None:
  """Refuses a config that asks for events which cannot be written.

  Raises:
    UserError: tensorboardX, the extra `tensorboard`, is not installed.
  """
  found = importlib.util.find_spec('tensorboardX')
  if config['log']['tensorboard'] and found is None:
    raise UserError(
      'log.tensorboard: True; event files need tensorboardX: pip install '
      "'bn_jax[tensorboard]'"
    )


class Events:
  """The event files of a run: `tensorboard/member_0` and so on.

  Every method does nothing unless `config.log.tensorboard` is set, and on
  every process but the first.
  """

  def __init__(self, workdir, config: dict, members: list[dict]):
    """Writes nothing yet.

    Args:
      workdir: The folder of the run.
      config: The run's, as a nested dict.
      members: As for `train.fit`.
    """
    self._folder = pathlib.Path(workdir) / FOLDER
    self._config, self._members, self._writers = config, members, []
    self._on = config['log']['tensorboard'] and hosts.first()

  def open(self, step: int) -> None:
    """Begins to write after so many steps; events after it do not count.

    What a run wrote between its last checkpoint and its end stays in the file,
    and a mark in the new file tells the reader to forget it.
    """
    if not self._on:
      return
    if not step:
      shutil.rmtree(self._folder, ignore_errors=True)
    if len(self._members) > MOST_MEMBERS:
      hosts.say(
        f'log.tensorboard: events of the first {MOST_MEMBERS} of '
        f'{len(self._members)} members'
      )
    told = self._members[:MOST_MEMBERS]
    with records.writing(self._folder):
      for i, member in enumerate(told):
        writer = _Writer(self._folder / f'member_{i}', step)
        writer.hparams(hparams(self._config, member))
        self._writers.append(writer)

  def append(self, steps: list[int], metrics: dict[str, np.ndarray]) -> None:
    """Writes curves as scalars: for each metric (members, len(steps))."""
    for name, values in metrics.items():
      for writer, row in zip(self._writers, np.asarray(values), strict=False):
        for step, value in zip(steps, row, strict=True):
          if np.isfinite(value):
            writer.scalar(step, name, value)
    self._flush()

  def histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
    """Writes what was taken of every unit: by name (members, units)."""
    for name, members in values.items():
      for writer, units in zip(self._writers, members, strict=False):
        if np.isfinite(units).all():
          writer.histogram(step, name, units)
    self._flush()

  def _flush(self):
    with records.writing(self._folder):
      for writer in self._writers:
        writer.file.flush()

  def close(self) -> None:
    """Closes the files."""
    with records.writing(self._folder):
      for writer in self._writers:
        writer.file.close()
    self._writers = []


def hparams(config: dict, member: dict) -> dict:
  """What tells a member from others, by dotted name: numbers and words."""
  values = {}
  for group, fields in config.items():
    if isinstance(fields, dict) and group not in _NOT_TOLD:
      values |= {f'{group}.{name}': value for name, value in fields.items()}
    elif group not in _NOT_TOLD:
      values[group] = fields
  values['strategy'] = '+'.join(config['strategies']) or 'none'
  values['data.name'] = config['data']['name']
  return {**values, 'seed': member['seed'], **member['hparams']}


class _Writer:
  """One event file."""

  def __init__(self, folder, step):
    """Opens a new file; what others hold after `step` is void."""
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2

    self._summary, self._proto = summary, event_pb2
    folder.mkdir(parents=True, exist_ok=True)
    # Two files of one second differ by the step from which they go on.
    self.file = EventsWriter(str(folder / 'events'), f'.{step:09d}')
    if step:
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._write(step + 1, session_log=start)

  def scalar(self, step, name, value):
    self._write(step, summary=self._summary.scalar(name, value))

  def histogram(self, step, name, values):
    self._write(step, summary=self._summary.histogram(name, values, BINS))

  def hparams(self, values):
    plain = {
      k: v if isinstance(v, bool | int | float | str) else str(v)
      for k, v in values.items()
    }
    made = self._summary.hparams(plain, dict.fromkeys(SCORES))
    for said in made[:2]:  # the third says that the run has ended
      self._write(0, summary=said)

  def _write(self, step, **what):
    self.file.write_event(
      self._proto.Event(wall_time=time.time(), step=int(step), **what)
    )
