"""What a report says in words: the verdict, and what stands under figures."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic

from bn_jax import report
from bn_jax.report import figures, verdicts, working


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  return synthetic.write_study(
    tmp_path_factory.mktemp('verdict') / 'study', seeds=range(10, 20),
    diverged={'none': (1, 2)}, rates=(0.01, 0.1, 1.0),
  )  # fmt: skip


def test_the_verdict_names_the_best_the_gap_and_the_failures(written):
  said = report.verdict(report.read(written))
  assert said.startswith('batch_norm reaches the highest test accuracy, 7')
  assert re.search(
    r': 6\.\d \[6\.\d, 7\.\d\] points above renormalize'
    r" \(paired over 10 seeds, Holm's p = 0\.006\)", said
  )  # fmt: skip
  assert 'diverged, counted at chance: 2 of none.' in said
  assert 'cannot be told' not in said and 'Only' not in said


def test_the_verdict_names_those_that_cannot_be_told_from_the_best(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(synthetic.LEVEL, 'renormalize', 0.7201)
  synthetic.write_study(tmp_path, seeds=range(10), rates=(0.1,))
  said = report.verdict(report.read(tmp_path))
  assert re.search(r'(batch_norm|renormalize) cannot be told from it\.$', said)
  assert re.search(r'points above activation_penalty', said)


def test_the_heading_is_one_sentence_and_the_rest_a_note(tmp_path):
  synthetic.write_study(
    tmp_path, seeds=range(6), rates=(0.1,), curve=(0.01, 0.1, 1.0)
  )
  page = report.write(tmp_path).read_text()
  (head,) = re.findall(r'<h1>(.*?)</h1>', page)
  first, second = verdicts.sentences(report.read(tmp_path))
  assert 'widest range of learning rates' in head and head.count('. ') == 0
  assert re.search(r'</h1>\n<p>batch_norm reaches the highest test', page)
  assert second.startswith('batch_norm reaches the highest test accuracy')
  assert report.verdict(report.read(tmp_path)).startswith(f'{first} {second}')


def _captions(study):
  return {panel.name: panel.caption for panel in figures.panels(study)}


def test_captions_say_what_becomes_of_runs_that_diverged(written):
  found = _captions(report.read(written))
  assert 'at chance level' in found['train_loss']
  assert 'ends where the first run diverges' in found['train_undone']
  assert 'chance' not in found['train_undone']


def test_a_caption_says_how_the_other_hyperparameters_vary(written):
  study = report.read(written)
  assert _captions(study)['sensitivity'].endswith('over the learning rate.')
  for weights, said in (((1.0,), 'with one value'), ((1.0, 2.0), 'the best')):
    copies = [
      study.tune.assign(**{'strategy.x.weight': w}) for w in weights
    ]  # fmt: skip
    df = pd.concat([study.final, *copies])
    assert said in _captions(study._replace(df=df))['sensitivity']


def test_of_rates_that_were_tried_none_may_work():
  row = {'working_low': np.nan, 'working_open': False}
  assert working.text(row) == 'none of those tried'


def test_the_page_says_why_an_interval_may_be_missing(written):
  page = report.write(written).read_text()
  assert 'every pair ended alike' in ' '.join(page.split())
