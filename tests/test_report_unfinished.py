"""Reports of what has only begun, and of runs that have little in common."""

import pytest
import synthetic

from bn_jax import plots, report, results
from bn_jax.errors import UserError


def empty(run):
  (run / 'curves.jsonl').write_text('')
  (run / 'summary.json').unlink()


@pytest.mark.parametrize('act', [report.write, report.print_table])
def test_nothing_has_been_measured_yet(tmp_path, act):
  """Fault: a table of no rows."""
  empty(synthetic.write_run(tmp_path / 'run'))
  with pytest.raises(UserError, match='nothing has been measured yet in'):
    act(tmp_path / 'run')
  assert not (tmp_path / 'run/report.html').exists()


def test_a_strategy_without_a_score_has_no_curve_yet(tmp_path):
  """Fault: `sensitivity` of every strategy that has rows."""
  folder = synthetic.write_study(
    tmp_path, ('none', 'batch_norm'), rates=(0.01, 0.1, 1.0)
  )
  curves = folder / 'runs/tune-none/curves.jsonl'
  trained = curves.read_text().splitlines(keepends=True)[0]
  assert 'validation' not in trained
  curves.write_text(trained)
  page = report.write(folder).read_text()
  assert 'id="sensitivity"' in page
  tune = report.read(folder).tune
  assert set(tune.strategy) == {'none', 'batch_norm'}
  (ax,) = plots.sensitivity(tune).axes
  assert len(ax.lines) == 1


def test_without_a_common_seed_there_is_no_difference(tmp_path):
  """Fault: the nearest of strategies that have no pair."""
  synthetic.write_run(tmp_path / 'a', 'none', seeds=(0, 1))
  synthetic.write_run(tmp_path / 'b', 'batch_norm', seeds=(2, 3))
  page = report.write(tmp_path).read_text()
  said = report.verdict(report.read(tmp_path))
  assert 'batch_norm reaches the highest test accuracy' in said
  assert 'points above' not in said and 'points above' not in page


def test_runs_that_measured_at_other_steps_have_no_mean(tmp_path):
  """Fault: an interval over no step."""
  synthetic.write_run(tmp_path / 'a', 'none', steps=100, every=60)
  synthetic.write_run(tmp_path / 'b', 'none', steps=100, every=50)
  synthetic.write_run(tmp_path / 'c', 'batch_norm', steps=100, every=50)
  df = results.load(tmp_path)
  (ax,) = plots.curves(df, 'train/loss').axes
  assert len(ax.lines) == 1
  with pytest.raises(UserError, match='no step that all runs measured'):
    plots.curves(df[df.strategy == 'none'], 'train/loss')
  assert 'id="scores"' in report.write(tmp_path).read_text()
