"""Where numbers were made, and that a run which moved on says so.

Planted and seen: what the data are left out, a new environment that is not
noted, one that is noted each time, the report of the first one alone.
"""

import importlib.metadata

import pytest
import synthetic
import tiny

from bn_jax import environment, records, train
from bn_jax.report import protocol, study

ELSEWHERE = {'commit': 'fff', 'packages': {'jax': '0.11.0', 'flax': '0.12.8'}}


def test_what_a_number_depends_on_is_noted():
  found = environment.here('mnist/3.0.1')
  assert found['data'] == 'mnist/3.0.1' and 'data' not in environment.here()
  for name in ('scipy', 'mnist1d', 'optax', 'tensorflow-datasets'):
    assert found['packages'][name] == importlib.metadata.version(name)


def test_a_run_that_goes_on_elsewhere_says_so_once(
  tmp_path, monkeypatch, capsys
):
  """The first environment stays, the next is added."""
  made = tiny.config(**{'checkpoint.seconds': 0.0})
  data = tiny.dataset()._replace(source='clouds/1.0.0')
  monkeypatch.setattr(train, 'load', lambda config: data)
  members = [{'seed': 0, 'hparams': {}}]
  begun = environment.here('clouds/1.0.0')
  there = begun | {'packages': begun['packages'] | {'jax': '0.1'}}
  folder = records.Workdir(tmp_path / 'run')
  with pytest.raises(tiny.StoppedError):
    train.fit(made, members, folder.path, progress=tiny.stop_at(10))
  assert folder.read('environment') == begun
  capsys.readouterr()
  monkeypatch.setattr(environment, 'here', lambda data: there)
  for _ in range(2):
    with pytest.raises(tiny.StoppedError):
      train.fit(made, members, folder.path, progress=tiny.stop_at(10))
    assert folder.read('environment') == begun | {'resumed': [there]}
  told = capsys.readouterr().err.splitlines()
  was = begun['packages']['jax']
  assert told == [
    f'bn_jax: {folder.path}: goes on elsewhere than it began: packages.jax is '
    f"'{was}' there, '0.1' here; its numbers are of both"
  ]


def test_an_environment_that_was_deleted_is_that_of_the_next_start(tmp_path):
  """Fault: one that holds `resumed` alone, which no version can go on with."""
  made = tiny.config()
  config, members = made.to_dict(), [tiny.member()]
  folder = records.Workdir(tmp_path / 'run')
  folder.create(config, members)
  (folder.path / 'environment.json').unlink()
  folder.create(config, members)
  assert folder.read('environment') == environment.here()
  folder.check(config, members)


def test_the_report_lists_every_place(tmp_path):
  synthetic.write_study(tmp_path, ('none', 'batch_norm'))
  path = tmp_path / 'runs' / 'final-batch_norm' / 'environment.json'
  synthetic.write_json(path, synthetic.ENVIRONMENT | {'resumed': [ELSEWHERE]})
  found = dict(protocol.environment(study.read(tmp_path)))
  assert found['commit'] == 'abc1234; fff'
  assert found['jax'] == '0.10.2; 0.11.0' and found['flax'] == '0.12.8'
  assert found['devices'] == 'cpu:cpu, cpu:cpu' and found['cores'] == '2'
