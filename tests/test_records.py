"""The workdir: files that are whole or not there, curves that can be cut.

What a run survives is in tests/test_resume.py, what a user gets to read in
tests/test_bad_workdirs.py.
"""

import json

import jax
import numpy as np
import pytest

import bn_jax
from bn_jax import records
from bn_jax.errors import UserError

CONFIG = {'seed': 0, 'optimizer': {'rate': 0.1}, 'strategies': ('a', 'b')}
MEMBERS = [{'seed': np.uint32(3), 'hparams': {'x': np.float64(0.5)}}]


@pytest.fixture
def folder(tmp_path):
  made = records.Workdir(tmp_path / 'deep' / 'run')
  made.create(CONFIG, MEMBERS)
  return made


def test_a_workdir_says_what_was_run_and_where(folder):
  """Planted: a file that is left out."""
  assert folder.read('config') == {**CONFIG, 'strategies': ['a', 'b']}
  assert folder.read('members') == [{'seed': 3, 'hparams': {'x': 0.5}}]
  found = folder.read('environment')
  assert found['bn_jax'] == bn_jax.__version__
  assert found['packages']['jax'] == jax.__version__
  assert found['devices'] == ['cpu:cpu'] * len(jax.devices())
  assert found['cores'] > 0 and found['processes'] == 1
  assert {p.name for p in folder.path.iterdir()} == {
    f'{name}.json' for name in ('config', 'members', 'environment')
  }
  assert folder.read('summary') is None


def test_the_same_run_may_go_on(folder):
  """Planted: a tuple that is not what JSON gives back."""
  folder.check(CONFIG, MEMBERS)
  before = (folder.path / 'config.json').stat().st_mtime_ns
  folder.create({'seed': 1}, MEMBERS)  # it is made once
  assert (folder.path / 'config.json').stat().st_mtime_ns == before


@pytest.mark.parametrize(
  'config, members, words',
  [
    ({**CONFIG, 'seed': 1}, MEMBERS, 'seed is 0 there, 1 here'),
    (
      {**CONFIG, 'optimizer': {'rate': 0.2}},
      MEMBERS,
      'optimizer.rate is 0.1 there, 0.2 here',
    ),
    ({**CONFIG, 'strategies': ('b', 'a')}, MEMBERS, r"\['a', 'b'\] there"),
    ({**CONFIG, 'more': 1}, MEMBERS, 'more is here only'),
    (CONFIG, [], r'members is \[.*\] there, \[\] here'),
  ],
)
def test_another_run_is_refused_with_the_difference(
  folder, config, members, words
):
  with pytest.raises(UserError, match=words):
    folder.check(config, members)


def test_a_file_is_whole_or_not_there(folder, monkeypatch):
  """Planted: a write to the file itself."""
  path = folder.path / 'config.json'
  before = path.read_text()
  monkeypatch.setattr(records.os, 'replace', lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    records.write_json(path, {'seed': 9})
  assert path.read_text() == before
  path.write_text('{"seed": ')
  with pytest.raises(UserError, match=r'config\.json is not JSON'):
    folder.check(CONFIG, MEMBERS)


@pytest.mark.parametrize(
  'spoil, words',
  [
    (lambda p: p.mkdir(), 'cannot be read: Is a directory; must be a JSON'),
    (lambda p: p.write_bytes(b'\xff\xfe'), 'is not JSON'),
    (lambda p: p.write_text('[' * 100_000), 'is not JSON'),
    (lambda p: p.write_text('[1]'), r"is not an object but '\[1\]'; delete"),
    (lambda p: p.write_text('null'), "is not an object but 'None'"),
    (lambda p: None, r'a\.json is missing$'),
  ],
)
def test_a_file_that_is_not_ours_is_named_in_a_line(spoil, words, tmp_path):
  """Planted: an `except` for JSONDecodeError alone."""
  path = tmp_path / 'a.json'
  spoil(path)
  with pytest.raises(UserError, match=words) as error:
    records.read_json(path)
  assert str(path) in str(error.value) and '\n' not in str(error.value)


def lines(folder):
  text = (folder.path / records.CURVES).read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_curves_are_lines_of_json(folder):
  """Planted: NaN as Python writes it, which JSON does not know."""
  loss = np.array([[0.5, np.nan], [np.inf, 0.25]], np.float32)
  folder.append([10, 20], {'train/loss': loss})
  folder.append([20], {'validation/loss': loss[:, :1]})
  assert lines(folder) == [
    {'step': [10, 20], 'metrics': {'train/loss': [[0.5, None], [None, 0.25]]}},
    {'step': [20], 'metrics': {'validation/loss': [[0.5], [None]]}},
  ]


def test_curves_go_back_to_where_they_were(folder):
  """Planted: a rewind by lines, a checksum that is not looked at."""
  folder.append([10], {'a': np.ones((1, 1))})
  mark = dict(folder.so_far)
  folder.append([20], {'a': np.ones((1, 1))})
  path = folder.path / records.CURVES
  with path.open('a') as file:
    file.write('{"step": [30], "metr')  # a write that was cut off
  again = records.Workdir(folder.path)
  assert again.holds(mark) and again.holds(folder.so_far)
  again.rewind(mark)
  assert [line['step'] for line in lines(folder)] == [[10]]
  again.append([20], {'a': np.zeros((1, 1))})
  assert again.holds(again.so_far) and not again.holds(folder.so_far)
  again.rewind()
  assert path.read_text() == ''


@pytest.mark.parametrize(
  'found, wanted, words',
  [
    ({'a': 1}, {'a': 1}, ''),
    ({'a': 1}, {'a': 2}, 'a is 1 there, 2 here'),
    ({'config': {'b': 1}}, {'config': {'b': '1'}}, "b is 1 there, '1' here"),
    ({'a': 1, 'b': 2}, {'b': 3}, 'a is there only'),
    ({}, {'a': {'b': 1}}, 'a is here only'),
    ({'a': None}, {}, 'a is there only'),
  ],
)
def test_differences_are_told_in_words(found, wanted, words):
  assert records.compare(found, wanted) == words
