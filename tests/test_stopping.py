"""SIGTERM is no mistake of the user's, wherever it comes."""

import pytest

from bn_jax import cli, stopping
from bn_jax.data import tfds_sets
from experiments import train

CONFIG = """import signal
signal.raise_signal(signal.SIGTERM)
"""


def test_while_a_config_file_is_read(tmp_path, capsys):
  path = tmp_path / 'config.py'
  path.write_text(CONFIG)
  with pytest.raises(SystemExit) as ended:
    cli.run(train.main, [f'--config={path}', f'--workdir={tmp_path / "run"}'])
  assert ended.value.code == stopping.RESUME_ME
  assert capsys.readouterr().err.startswith('stopped')
  assert not (tmp_path / 'run').exists()


def test_while_a_set_is_looked_for(monkeypatch):
  def builder(*args, **kwargs):
    raise stopping.Stopped('stopped')

  monkeypatch.setattr(
    'tensorflow_datasets.core.read_only_builder.builder_from_files', builder
  )
  with pytest.raises(stopping.Stopped):
    tfds_sets._builder('mnist', '')
