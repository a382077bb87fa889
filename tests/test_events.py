"""Event files as stock TensorBoard reads them.

Planted and seen: steps of an interrupted run that stay, a value a step too
late, the statistics of another site, a member's events in another's file,
hyperparameters of the config instead of the member's, test scores before the
run can no longer be resumed, files of a run that started again.
"""

import importlib.util
import json

import numpy as np
import pytest
import tiny
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from bn_jax import records, results, train
from bn_jax.errors import UserError

MEMBERS = [tiny.member(s, optimizer__learning_rate=0.1 * s) for s in (1, 2)]
START = '_hparams_/session_start_info'


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch, num_devices):
  monkeypatch.setattr(train, 'load', lambda config: tiny.dataset())
  num_devices(2)


def fit(path, members=MEMBERS, progress=lambda *_, **__: None, **fields):
  fields = {'model.width': 4, 'log.tensorboard': True, **fields}
  made = tiny.config(('batch_norm',), **fields)
  return train.fit(made, members, path, test=True, progress=progress)


def read(workdir, member):
  """What stock TensorBoard holds of a member; every event is kept."""
  path = workdir / 'tensorboard' / f'member_{member}'
  everything = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 0)
  found = event_accumulator.EventAccumulator(str(path), everything)
  return found.Reload()


def assert_holds_the_curves(workdir):
  table = results.load(workdir)
  for member in range(len(MEMBERS)):
    events = read(workdir, member)
    rows = table[table.member == member].set_index('step')
    measured = [c for c in rows if '/' in c]
    assert sorted(events.Tags()['scalars']) == sorted(measured)
    for name in measured:
      wanted = rows[name].dropna()
      scalars = events.Scalars(name)
      assert [s.step for s in scalars] == wanted.index.tolist(), name
      np.testing.assert_allclose([s.value for s in scalars], wanted, rtol=1e-6)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('events')


@pytest.fixture
def done(folder):
  if not (folder / 'summary.json').exists():
    fit(folder)
  return folder


def test_scalars_are_the_curves(done):
  assert_holds_the_curves(done)


def test_histograms_are_of_each_sites_units(done):
  table = results.load(done)
  for member in range(len(MEMBERS)):
    events = read(done, member)
    names = [f'units/site_{i}/{of}' for i in (0, 1) for of in ('mean', 'var')]
    assert sorted(events.Tags()['histograms']) == sorted(names)
    rows = table[table.member == member].set_index('step')
    for name in names:
      taken = events.Histograms(name)
      assert [h.step for h in taken] == [0, 10, 20]
      curve = rows[name.replace('units', 'validation')].dropna()
      for event, mean in zip(taken, curve, strict=True):
        histogram = event.histogram_value
        assert histogram.num == sum(histogram.bucket) == 4
        assert histogram.sum / 4 == pytest.approx(mean, rel=1e-4, abs=1e-6)


def test_hparams_tell_who_a_member_is(done):
  for i, member in enumerate(MEMBERS):
    content = read(done, i).summary_metadata[START].plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(content)
    found = dict(told.session_start_info.hparams)
    assert found['strategy'].string_value == 'batch_norm'
    assert found['seed'].number_value == member['seed']
    rate = member['hparams']['optimizer.learning_rate']
    assert found['optimizer.learning_rate'].number_value == rate
    assert found['model.width'].number_value == 4


@pytest.mark.parametrize('seconds', [0.0, 60.0])
def test_a_resumed_run_does_not_double_its_steps(
  seconds, tmp_path, monkeypatch
):
  """From its checkpoint at step 20, or from step 0 where there is none."""
  path = tmp_path / 'run'
  often = {'checkpoint.seconds': seconds, 'num_train_steps': 40}
  append = records.Workdir.append

  def fail_at_30(self, steps, metrics):
    append(self, steps, metrics)
    if steps == [30]:  # these rows are on disk, but after the checkpoint
      raise tiny.StoppedError

  monkeypatch.setattr(records.Workdir, 'append', fail_at_30)
  with pytest.raises(tiny.StoppedError):
    fit(path, **often)
  steps = [s.step for s in read(path, 0).Scalars('train/loss')]
  assert steps == [5, 10, 15, 20, 25, 30]
  for file in path.glob('tensorboard/*/events*'):  # as if it were long ago
    file.rename(
      file.with_name(f'events.out.tfevents.1000000000.{file.name[-9:]}')
    )
  monkeypatch.setattr(records.Workdir, 'append', append)
  fit(path, **often)
  assert_holds_the_curves(path)
  histograms = read(path, 1).Histograms('units/site_0/mean')
  assert [h.step for h in histograms] == [0, 10, 20, 30, 40]


def test_an_end_that_is_made_twice_is_told_once(tmp_path, monkeypatch):
  path, write = tmp_path / 'run', records.Workdir.write

  def fail(self, name, value):
    if name == 'summary':
      raise tiny.StoppedError
    write(self, name, value)

  monkeypatch.setattr(records.Workdir, 'write', fail)
  with pytest.raises(tiny.StoppedError):
    fit(path, **{'checkpoint.seconds': 0.0})
  monkeypatch.setattr(records.Workdir, 'write', write)
  fit(path, **{'checkpoint.seconds': 0.0})
  assert_holds_the_curves(path)


def test_a_run_without_them_writes_none(tmp_path):
  fit(tmp_path / 'run', **{'log.tensorboard': False})
  assert not (tmp_path / 'run' / 'tensorboard').exists()
  line = (tmp_path / 'run' / 'curves.jsonl').read_text().splitlines()[0]
  assert not [n for n in json.loads(line)['metrics'] if 'units' in n]


def test_a_missing_package_is_one_line_and_no_folder(tmp_path, monkeypatch):
  find_spec = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name: None if name == 'tensorboardX' else find_spec(name),
  )
  with pytest.raises(UserError) as caught:
    fit(tmp_path / 'run')
  assert '\n' not in str(caught.value)
  assert "pip install 'bn_jax[tensorboard]'" in str(caught.value)
  assert not (tmp_path / 'run').exists()
