import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import synthetic
from rich.console import Console

from bn_jax import report, results, statistics
from bn_jax.errors import UserError
from bn_jax.report import figures, protocol, study, tables


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  folder = tmp_path_factory.mktemp('report') / 'study'
  synthetic.write_study(
    folder, seeds=range(10, 20), diverged={'none': (1, 2)},
    rates=(0.01, 0.1, 1.0),
  )  # fmt: skip
  report.write(folder)
  return folder


@pytest.fixture(scope='module')
def page(written):
  return (written / 'report.html').read_text()


@pytest.fixture(scope='module')
def found(written):
  return tables.of_study(report.read(written))


def test_the_table_number_by_number(found, written):
  df = results.load(written)
  df = df[df.phase == 'final']
  tests = df.dropna(subset=['test/accuracy']).groupby('strategy')
  best = found.loc['batch_norm', '']
  assert best.accuracy == pytest.approx(
    tests['test/accuracy'].mean()['batch_norm']
  )
  assert best.accuracy_low < best.accuracy < best.accuracy_high
  assert best.diverged == 0 and best.seeds == 10
  assert best.parameters == 57_010
  # In turns: the ratio is taken within rounds, which the crowd does not move.
  assert best.time == pytest.approx(1.2)
  assert 1.17 < best.time_low < 1.2 < best.time_high < 1.23
  assert best.steps_per_second == pytest.approx(1 / (1e-3 * 1.5 * 1.2))
  assert best.seconds == pytest.approx(best.steps / best.steps_per_second)
  none = found.loc['none', '']
  alive = tests['test/accuracy'].sum()['none']
  assert none.accuracy == pytest.approx((alive + 2 * 0.1) / 10)
  assert none.diverged == 2 and none.time == none.time_low == 1
  assert none.reached == 0.8
  assert found.undone.notna().tolist() == [False, False, True, False]
  assert found.loc['renormalize', ''].undone == pytest.approx(0.4, abs=0.01)
  sites = [f'validation/site_{k}/distance' for k in range(6)]
  last = df[(df.strategy == 'batch_norm') & (df.step == 1000)]
  assert best.distance == pytest.approx(last[sites].to_numpy().mean())


def test_steps_are_the_median_and_never_where_most_do_not_reach():
  rows = [
    ('a', member, step, accuracy, -1)
    for member, at in enumerate([1, 2, 3, 9, 9])
    for step in (1, 2, 3)
    for accuracy in [0.9 if step >= at else 0.2]
  ] + [('b', m, s, 0.2, -1) for m in range(5) for s in (1, 2, 3)]
  names = ['strategy', 'member', 'step', 'validation/accuracy', 'diverged_at']
  df = pd.DataFrame(rows, columns=names).assign(
    run=lambda d: d.strategy, variant='', seed=lambda d: d.member,
    learning_rate=0.1,
  )  # fmt: skip
  found = report.table(df, {}, target=0.5)
  assert found.steps.tolist() == [3, np.inf]
  assert found.reached.tolist() == [0.6, 0]
  heads, cells = tables.cells(found)
  where = next(i for i, h in enumerate(heads) if h.startswith('steps'))
  assert [row[where] for row in cells] == ['3 (60%)', 'never (0%)']


class _Reader(HTMLParser):
  VOID = ('meta', 'link', 'br', 'img', 'use', 'path', 'rect', 'image')

  def __init__(self):
    super().__init__()
    self.open, self.ids, self.links = [], [], []

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.ids += [attrs['id']] if 'id' in attrs else []
    self.links += [
      attrs[k] for k in ('src', 'href', 'xlink:href') if k in attrs
    ]
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    if tag not in self.VOID:
      assert self.open.pop() == tag


def test_the_page_is_one_file_and_well_formed(page):
  reader = _Reader()
  reader.feed(page)
  assert not reader.open
  assert len(reader.ids) == len(set(reader.ids))
  assert all(link.startswith(('#', 'data:')) for link in reader.links)
  targets = {link[1:] for link in reader.links if link[0] == '#'}
  assert targets <= set(reader.ids)
  assert not re.search(r'(src|@import|url\()\s*=?\s*["\']?https?:', page)
  assert len(page) < 2_000_000


def test_the_page_says_what_was_done(page):
  for text in (
    'batch_norm reaches the highest test accuracy',
    'python -m experiments.compare --config=configs/mnist1d_mlp.py',
    'abc1234', '10 to 19', 'optimizer learning_rate 0.001 to 10', '57,010',
    '3 trials with 2 seeds each to tune a strategy, then 10 seeds',
    'search space of activation_penalty',
    'strategy.activation_penalty.weight 0.0001 to 10',
    'scope of the statistics</dt><dd>global',
    'parameters</dt><dd>none 56,410, activation_penalty 57,010',
    'the strategies in turns, 5 rounds',
  ):  # fmt: skip
    assert text in page
  assert page.count('<figure') == 9


def test_the_page_escapes_what_it_was_given(tmp_path):
  folder = synthetic.write_study(tmp_path, ('none',), seeds=(1, 2), rates=(1,))
  config = results.read_json(folder / 'config.json')
  synthetic.write_json(
    folder / 'config.json', config | {'command': '<script>alert(1)</script>'}
  )
  page = report.write(folder).read_text()
  assert '<script>alert' not in page and '&lt;script&gt;alert' in page
  assert 'Only 2 seeds' in page


def test_tables_and_figures_lie_beside_the_page(written, found):
  csv = pd.read_csv(written / 'table.csv', index_col=0)
  assert csv.accuracy['batch_norm'] == found.loc['batch_norm', ''].accuracy
  rows = (written / 'table.md').read_text().splitlines()
  assert len(rows) == 6 and len({row.count('|') for row in rows}) == 1
  tex = (written / 'table.tex').read_text()
  assert r'\toprule' in tex and r'activation\_penalty &' in tex
  assert not re.search(r'(?<!\\)[%_]', tex)
  names = {p.stem for p in (written / 'figures').glob('*.svg')}
  assert {'scores', 'validation_accuracy', 'sensitivity', 'profile'} <= names
  for path in (written / 'figures').glob('*.pdf'):
    assert path.read_bytes()[:5] == b'%PDF-' and path.stem in names


@pytest.mark.parametrize('width', [60, 80, 120])
def test_the_terminal_table_fits(written, width):
  console = Console(width=width, file=io.StringIO())
  report.print_table(written, console)
  lines = console.file.getvalue().splitlines()
  assert max(map(len, lines)) <= width
  rows = [line for line in lines if line.startswith('batch_norm')]
  assert re.search(r'7\d\.\d \[\d\d\.\d, \d\d\.\d\]', rows[0])
  assert ('57,010' in rows[0]) == (width == 120)
  assert len(rows) == {60: 3, 80: 2, 120: 2}[width]
  # Nothing is left out: each column stands in one of the blocks.
  shown = tables.columns(tables.of_study(study.read(written)))
  words = [word for line in lines for word in re.split(r'\s{2,}', line)]
  for column in shown:
    for word in column.short.split('\n'):
      assert any(word in found for found in words), column.name


def test_few_seeds_are_warned_of(tmp_path):
  synthetic.write_study(tmp_path, ('none',), seeds=(1, 2), rates=(0.1,))
  console = Console(file=io.StringIO())
  report.print_table(tmp_path, console)
  assert 'Only 2 seeds' in console.file.getvalue()


def test_an_unfinished_study_and_a_single_run_have_a_report(tmp_path):
  study = synthetic.write_study(
    tmp_path / 'a', ('none', 'batch_norm'), seeds=(1,), rates=(0.1,)
  )
  shutil.rmtree(study / 'runs' / 'final-batch_norm')
  shutil.rmtree(study / 'runs' / 'final-none')
  (study / 'choice.json').unlink()
  assert 'validation accuracy' in report.write(study).read_text()
  run = synthetic.write_run(tmp_path / 'b', finished=False)
  assert 'batch_norm' in report.write(run).read_text()


def test_all_runs_diverged(tmp_path):
  synthetic.write_study(
    tmp_path, ('none',), seeds=range(5), rates=(0.1,),
    diverged={'none': range(5)},
  )  # fmt: skip
  page = report.write(tmp_path).read_text()
  assert '10.0%' in page and '5/5' in page


def test_a_folder_without_runs_is_a_user_error(tmp_path):
  with pytest.raises(UserError, match='no run in'):
    report.write(tmp_path)


def test_comparisons_are_with_the_reference(written):
  study = report.read(written)
  table = report.comparisons(study)
  scores = statistics.finals(study.final, 'test/accuracy', chance=0.1)
  wide = scores.pivot(index='seed', columns='strategy', values='score')
  gain = (wide.batch_norm - wide.none).mean()
  assert table.attrs['reference'] == 'none'
  assert table.difference['batch_norm'] == pytest.approx(gain)
  assert table.iqm['none'] == pytest.approx(np.sort(wide.none)[2:8].mean())
  assert table.probability['batch_norm'] == 1
  assert table.p_holm['batch_norm'] == pytest.approx(3 * 2 / 2**10)
  assert np.isnan(table.difference['none'])
  # Rates 0.01, 0.1 and 1 were tried; 0.1 alone reaches the target of 50%.
  assert 0.01 < table.working_low['none'] < 0.1 < table.working_high['none'] < 1
  assert table.working_decades['batch_norm'] > table.working_decades['none']
  csv = pd.read_csv(written / 'comparisons.csv', index_col=0)
  assert csv.iqm['none'] == pytest.approx(table.iqm['none'])


def test_a_grid_has_its_picture_first_and_its_variants_in_order(tmp_path):
  synthetic.write_study(
    tmp_path, ('none', 'batch_norm'), seeds=(1, 2), rates=(0.1,),
    variants=('model.depth=6', 'model.depth=8', 'model.depth=10'),
  )  # fmt: skip
  study = report.read(tmp_path)
  names = [panel.name for panel in figures.panels(study)]
  assert names[0] == 'over_model_depth' and len(set(names)) == len(names)
  assert [n for n in names if n.startswith('train_loss')] == [
    'train_loss_model_depth_6',
    'train_loss_model_depth_8',
    'train_loss_model_depth_10',
  ]
  rows = tables.of_study(study).index.tolist()
  assert rows[:3] == [('none', f'model.depth={d}') for d in (6, 8, 10)]


@pytest.mark.parametrize(
  ('mesh', 'options', 'said'),
  [
    ({'data': 1, 'statistics': 'local'}, {}, 'global: the whole batch of 64'),
    ({'data': 4, 'statistics': 'local'}, {}, "local: a device's own 16 of 64"),
    (
      {'data': 1, 'statistics': 'global'},
      {'batch_norm': {'ghost_batch_size': 8}},
      'the whole batch of 64 examples; batch_norm: in groups of 8',
    ),
  ],
)
def test_the_scope_of_the_statistics_is_said(mesh, options, said, written):
  case = {'mesh': mesh, 'batch_size': 64, 'strategy': options}
  study = report.read(written)
  study = study._replace(config={**study.config, 'cases': {'case-x': case}})
  assert said in dict(protocol.protocol(study))['scope of the statistics']


def test_the_verdict_does_not_claim_what_few_seeds_cannot_show(tmp_path):
  synthetic.write_study(tmp_path, seeds=range(3), rates=(0.1,))
  said = report.verdict(report.read(tmp_path))
  assert 'above renormalize (paired over 3 seeds). Below 6 seeds' in said
  assert 'Only 3 seeds' in said


def test_a_learning_rate_curve_is_the_verdict(tmp_path):
  rates = tuple(10.0 ** np.arange(-3, 1.1, 0.5))
  synthetic.write_study(
    tmp_path, seeds=range(6), rates=(0.1,), curve=rates, diverged={'none': (0,)}
  )
  study = report.read(tmp_path)
  names = [panel.name for panel in figures.panels(study)]
  assert names[:2] == [
    'learning_rate_train_loss', 'learning_rate_validation_accuracy',
  ]  # fmt: skip
  table = report.comparisons(study)
  scores = statistics.finals(study.rates, 'validation/accuracy')
  mean = scores[scores.strategy == 'batch_norm'].groupby('learning_rate').score
  wanted = statistics.working_range(rates, mean.mean().to_numpy(), 0.5)
  best = table.loc['batch_norm']
  assert best.working_decades == pytest.approx(wanted.decades)
  assert best.working_decades_low < wanted.decades < best.working_decades_high
  said = report.verdict(study)
  assert said.startswith(
    'batch_norm reaches 50% over the widest range of learning rates, '
  )
  assert re.search(r'decades \(0\.\d+ to 0\.\d+\); renormalize \d\.\d', said)
  # The table is of the chosen rate alone, with fresh seeds.
  assert tables.of_study(study).seeds.tolist() == [6] * 4
  page = report.write(tmp_path).read_text()
  assert '9 learning rates from 0.001 to 10 with every reported seed' in page
