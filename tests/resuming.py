"""A tiny run that tests stop and go on with."""

import itertools
import json
import signal
import socket

import pytest
import tiny

from bn_jax import stopping, train

MEMBERS = [tiny.member(s, optimizer__learning_rate=0.1) for s in (0, 1)]
STEPS, CHUNK = 40, 10
CURVES = 'curves.jsonl'


def fit(path, chained=('batch_norm',), members=MEMBERS, **fields):
  small = {'num_train_steps': STEPS, 'model__width': 4, 'model__depth': 1}
  fields = {**small, 'checkpoint__seconds': 0.0, **fields}
  return train.fit(tiny.config(chained, **fields), members, path, test=True)


def ended(path):
  """Everything that must not depend on what happened on the way."""
  summary = json.loads((path / 'summary.json').read_text())
  for name in ('seconds', 'steps_per_second'):
    summary.pop(name)
  return (path / CURVES).read_bytes(), summary


def stop_after(monkeypatch, chunks, number=signal.SIGTERM):
  """Sends the process a signal while it takes its n-th chunk of steps."""
  left = itertools.count(chunks, -1)
  population = train.Rounds
  take = population.train

  def call(*args):
    if next(left) == 1:
      signal.raise_signal(number)
    return take(*args)

  monkeypatch.setattr(population, 'train', call)


def stopped_at(path, chunks=4, **fields):
  """A run that stands still after some chunks, with its checkpoints."""
  with pytest.MonkeyPatch.context() as patch:
    stop_after(patch, chunks)
    with pytest.raises(stopping.Stopped):
      fit(path, **fields)
  return sorted(p.name for p in (path / 'checkpoints').iterdir())


def free_port():
  """Where processes of one run can meet."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return free.getsockname()[1]
