import json
import time

import numpy as np
import pandas as pd
import pytest
import synthetic

from bn_jax import results, statistics
from bn_jax.errors import UserError


def _tiny(folder, lines, members=2, **files):
  synthetic.write_json(
    folder / 'members.json',
    [
      {
        'member': i,
        'seed': 3 + i,
        'hparams': {
          'optimizer.learning_rate': 0.5,
          'strategy.x.weight': 0.1 * i,
        },
      }
      for i in range(members)
    ],
  )
  for name, value in files.items():
    synthetic.write_json(folder / f'{name}.json', value)
  (folder / 'curves.jsonl').write_text(lines)
  return folder


def _line(step, **metrics):
  metrics = {k.replace('__', '/'): v for k, v in metrics.items()}
  return json.dumps({'step': step, 'metrics': metrics}) + '\n'


def test_one_run_value_by_value(tmp_path):
  lines = _line([1, 2], train__loss=[[1.0, 0.5], [2.0, None]])
  lines += _line([2], validation__loss=[[7.0], [8.0]])
  df = results.load(
    _tiny(
      tmp_path,
      lines,
      config={'strategies': ['batch_norm', 'lsuv']},
      summary={'diverged_at': [-1, 2], 'test/accuracy': [0.9, None]},
    )
  )
  nan = np.nan
  assert df.strategy.tolist() == ['batch_norm+lsuv'] * 4
  assert df.member.tolist() == [0, 0, 1, 1]
  assert df.seed.tolist() == [3, 3, 4, 4]
  assert df.step.tolist() == [1, 2, 1, 2]
  assert df.learning_rate.tolist() == [0.5] * 4
  assert df['strategy.x.weight'].tolist() == [0, 0, 0.1, 0.1]
  assert df.diverged_at.tolist() == [-1, -1, 2, 2]
  np.testing.assert_array_equal(df['train/loss'], [1, 0.5, 2, nan])
  np.testing.assert_array_equal(df['validation/loss'], [nan, 7, nan, 8])
  np.testing.assert_array_equal(df['test/accuracy'], [nan, 0.9, nan, nan])


def test_of_two_chunks_with_the_same_step_the_later_wins(tmp_path):
  lines = _line([1, 2], a=[[1.0, 2.0], [1.0, 2.0]])
  lines += _line([2, 3], a=[[20.0, 30.0], [20.0, 30.0]])
  df = results.load(_tiny(tmp_path, lines))
  assert df[df.member == 0].a.tolist() == [1, 20, 30]


def test_a_half_written_last_line_is_left_out(tmp_path):
  whole = _line([1], a=[[1.0], [2.0]])
  df = results.load(_tiny(tmp_path, whole + _line([2], a=[[1.0], [2.0]])[:-1]))
  assert df.step.tolist() == [1, 1]


@pytest.mark.parametrize(
  'bad',
  [
    '{"step": [2], "metr\n',
    '\n',
    '[1, 2]\n',
    '{"step": [2]}\n',
    _line([2], a=[[1.0]]),
    _line([2], a=[[1.0, 2.0], [1.0, 2.0]]),
    _line([2], a=[['x'], ['y']]),
  ],
)
def test_a_corrupt_line_is_named(tmp_path, bad):
  good = _line([1], a=[[1.0], [2.0]])
  _tiny(tmp_path, good + bad + good)
  with pytest.raises(UserError, match=r'curves\.jsonl, line 2') as error:
    results.load(tmp_path)
  assert '\n' not in str(error.value)


def test_no_run_and_corrupt_json_are_user_errors(tmp_path):
  with pytest.raises(UserError, match='no run in'):
    results.load(tmp_path)
  _tiny(tmp_path, '')
  (tmp_path / 'summary.json').write_text('{')
  with pytest.raises(UserError, match=r'summary\.json'):
    results.load(tmp_path)


def test_a_run_that_has_only_begun_is_empty(tmp_path):
  df = results.load(_tiny(tmp_path, ''))
  assert len(df) == 0 and 'strategy' in df and 'step' in df


def test_a_study_has_phases_strategies_variants_and_what_varies(tmp_path):
  synthetic.write_study(
    tmp_path, ('none', 'batch_norm'), seeds=(1, 2), variants=('d6', 'd8')
  )
  df = results.load(tmp_path)
  assert set(df.phase) == {'tune', 'final'}
  assert set(df.strategy) == {'none', 'batch_norm'}
  assert set(df.variant) == {'d6', 'd8'}
  assert set(zip(df.variant, df['model.depth'], strict=True)) == {
    ('d6', 6),
    ('d8', 8),
  }
  assert 'batch_size' not in df
  assert df.groupby(['run', 'member', 'step']).size().max() == 1
  finals = results.summaries(tmp_path)
  assert finals['final-none-d6']['parameters'] == 56_410


def test_a_variant_may_hold_a_hyphen(tmp_path):
  synthetic.write_json(tmp_path / 'config.json', {'study': {}})
  for strategy in ('none', 'lsuv+batch_norm'):
    name = f'final-{strategy}-optimizer.decay=1e-3'
    synthetic.write_run(tmp_path / 'runs' / name, strategy)
  df = results.load(tmp_path)
  assert set(df.phase) == {'final'}
  assert set(df.strategy) == {'none', 'lsuv+batch_norm'}
  assert set(df.variant) == {'optimizer.decay=1e-3'}


@pytest.mark.parametrize('load', ['runs', 'runs/final-lr0.1', '.'])
def test_a_run_may_be_called_like_one_of_a_study(tmp_path, load):
  """Fault: phase and strategy out of the name, whoever gave it."""
  synthetic.write_run(tmp_path / 'runs' / 'final-lr0.1', 'batch_norm')
  df = results.load(tmp_path / load)
  assert set(df.strategy) == {'batch_norm'}
  assert set(df.phase) == set(df.variant) == {''}


def test_whatever_tells_runs_apart_is_a_column(tmp_path):
  """Faults: numbers alone; fields that all runs have, alone."""

  def write(name, strategy, hparams=None, **config):
    options = {strategy: {'stop': 'none', 'weight': 0.5} | config}
    fields = {
      'strategy': options,
      'model': {'site': 'input' if name == 'd' else 'output'},
      'log': {'sites': name != 'd', 'probes': ['x'] * (name == 'd')},
      'data': {'data_dir': name},
    }
    synthetic.write_run(
      tmp_path / name, strategy, seeds=(1,), config=fields, hparams=hparams
    )

  write('a', 'batch_norm')
  write('b', 'batch_norm', stop='both')
  write('c', 'penalty')
  write('d', 'penalty', hparams={'strategy.penalty.weight': 0.1})
  df = results.load(tmp_path)
  found = df.groupby('run').first()
  assert found['strategy.batch_norm.stop'].tolist() == [
    'none', 'both', None, None,
  ]  # fmt: skip
  np.testing.assert_array_equal(
    found['strategy.penalty.weight'], [np.nan, np.nan, 0.5, 0.1]
  )
  assert found['model.site'].tolist() == ['output'] * 3 + ['input']
  assert found['log.sites'].tolist() == [True] * 3 + [False]
  assert found['log.probes'].tolist() == ['[]'] * 3 + ["['x']"]
  told = {c for c in df if '.' in c and '/' not in c}
  assert told == {
    'strategy.batch_norm.stop', 'strategy.penalty.weight', 'model.site',
    'log.sites', 'log.probes',
  }  # fmt: skip
  scores = statistics.finals(df, 'validation/accuracy')
  assert scores['strategy.batch_norm.stop'].tolist()[:2] == ['none', 'both']
  rates, ends = statistics.by_learning_rate(scores)
  assert len(rates) == len(ends.point) == 1


def test_a_folder_of_studies_keeps_them_apart(tmp_path):
  for name in ('a', 'b'):
    synthetic.write_study(tmp_path / name, ('none',), seeds=(1,))
  df = results.load(tmp_path)
  assert set(df.run) == {
    f'{study}/{phase}-none' for study in 'ab' for phase in ('tune', 'final')
  }


def test_a_folder_of_runs_and_studies(tmp_path):
  """As `runs` is after `compare` and `train`. Planted: the studies left out."""
  synthetic.write_study(tmp_path / 'study', ('none',), rates=(0.1,))
  synthetic.write_run(tmp_path / 'alone', 'batch_norm')
  found = results.load(tmp_path).run.unique().tolist()
  assert found == ['alone', 'study/final-none', 'study/tune-none']


def test_a_folder_of_runs(tmp_path):
  synthetic.write_run(tmp_path / 'x', 'none')
  synthetic.write_run(tmp_path / 'y', 'batch_norm')
  df = results.load(tmp_path)
  assert df.groupby('run').strategy.first().to_dict() == {
    'x': 'none',
    'y': 'batch_norm',
  }


def test_100_000_rows_are_read_within_seconds(tmp_path):
  synthetic.write_run(tmp_path, seeds=range(10), steps=10_000, every=1, sites=1)
  start = time.monotonic()
  df = results.load(tmp_path)
  assert len(df) == 100_000
  assert time.monotonic() - start < 10
  assert isinstance(df, pd.DataFrame)
