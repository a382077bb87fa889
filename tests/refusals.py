"""What the tests of bad input share: a command, and the one line it says."""

import pytest

from bn_jax import cli, devices
from experiments import train

FILE = 'configs/mnist1d_mlp.py'
SMALL = (
  '--config.num_train_steps=20',
  '--config.log.every=10',
  '--config.log.eval_every=10',
  '--config.model.depth=1',
  '--config.model.width=4',
  '--config.data.limit=200',
)

GOOD = (f'--config={FILE}:none', *SMALL)


@pytest.fixture(autouse=True)
def as_it_is(monkeypatch):
  """The devices and the cache of the session are set up already."""
  monkeypatch.setattr(devices, 'set_up', lambda *_: None)


def fails(capsys, main, argv, began=False):
  """Runs a command that has to fail; returns what its one line says.

  Where it `began`, its progress stands before the line.
  """
  with pytest.raises(SystemExit) as ended:
    cli.run(main, [str(word) for word in argv])
  lines = [x for x in capsys.readouterr().err.splitlines() if x]
  assert ended.value.code == 2, lines
  (line,) = lines[-1:] if began else lines
  kind, _, message = line.partition(': ')
  assert kind == 'error'
  return message


def refused(capsys, workdir, argv, main=train.main):
  """The message for argv, which must not have made the workdir."""
  message = fails(capsys, main, [*argv, f'--workdir={workdir}'])
  assert not workdir.exists()
  return message


def files(folder):
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
