"""Time in a report: ratios within rounds, and speeds that follow from them."""

import json

import pytest
import synthetic

from bn_jax import report
from bn_jax.report import protocol, tables


def test_times_of_no_turns_are_those_of_the_runs(tmp_path):
  synthetic.write_study(tmp_path, ('none', 'batch_norm'), (1, 2), rates=(0.1,))
  (tmp_path / 'times.json').unlink()
  found = tables.of_study(report.read(tmp_path))
  assert found.time.isna().all()  # one after the other: no ratio
  assert found.loc['batch_norm', ''].steps_per_second == 3400
  assert 'x none' not in report.write(tmp_path).read_text()


def _timed(folder, strategies, rounds):
  """A study whose strategies took so many seconds per step."""
  synthetic.write_study(folder, strategies, (1, 2), rates=(0.1,))
  path = folder / 'times.json'
  times = json.loads(path.read_text())
  for name, seconds in rounds.items():
    times[f'case-{name}']['seconds_per_step'] = seconds
  path.write_text(json.dumps(times))
  return tables.of_study(report.read(folder))


def test_ratio_and_speed_agree_in_a_busy_run(tmp_path):
  """Here the medians of the rounds alone say the reverse of the ratio."""
  rounds = {'none': [1e-3, 3e-3, 9e-3], 'batch_norm': [0.9e-3, 4e-3, 8e-3]}
  found = _timed(tmp_path, ('none', 'batch_norm'), rounds)
  none, norm = found.loc['none', ''], found.loc['batch_norm', '']
  assert norm.time == pytest.approx(0.9) and none.time == 1
  assert none.steps_per_second == pytest.approx(1 / 3e-3)
  assert norm.steps_per_second == pytest.approx(
    none.steps_per_second / norm.time
  )


def test_without_the_reference_times_are_ratios_to_the_first(tmp_path):
  names = ('batch_norm', 'renormalize')
  found = _timed(tmp_path, names, {})
  assert found.time['batch_norm', ''] == 1
  assert found.time['renormalize', ''] == pytest.approx(1.6 / 1.2)
  page = report.write(tmp_path).read_text()
  assert 'x batch_norm [95%]' in page and 'x none' not in page
  assert dict(protocol.protocol(report.read(tmp_path)))['reference'] == names[0]


def test_the_reference_of_a_study_is_that_of_its_times(tmp_path):
  synthetic.write_study(tmp_path, ('none', 'batch_norm'), (1, 2), rates=(0.1,))
  study = report.read(tmp_path)._replace(reference='batch_norm')
  found = tables.of_study(study)
  assert found.time['batch_norm', ''] == 1
  assert any('x batch_norm' in head for head in tables.cells(found)[0])
