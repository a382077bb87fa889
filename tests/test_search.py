"""A search or a grid that would have no effect, or end in a traceback."""

import pytest
import tiny
from ml_collections import ConfigDict

from bn_jax import config as config_lib
from bn_jax import study
from bn_jax.errors import UserError


def make_config(names):
  return tiny.config(names.split('+'))


def settings(**fields):
  made = config_lib.study()
  made.strategies, made.rates = ('none', 'activation_penalty'), (0.01, 1.0, 3)
  for name, value in fields.items():
    made[name] = value
  return made


def refused(made, words, folder):
  with pytest.raises(UserError, match=words) as error:
    study.Study(make_config, made, folder)
  assert '\n' not in str(error.value) and not folder.exists()


RATES = {'optimizer': {'learning_rate': (0.1, 1.0)}}


@pytest.mark.parametrize(
  ('kind', 'fields', 'words'),
  [
    ('search', {'batch_size': (4, 64)}, 'search.batch_size: 16; not a number'),
    ('search', {'model': {'width': (4, 8)}}, 'search.model.width: 8; not'),
    ('search', {'data': {'limit': (4, 8)}}, 'which are floats: .*momentum'),
    ('search', {'optimizer': {'rate': (1, 2)}}, 'rate: no such field; did you'),
    ('search', {'optimizer': {'momentum': (0.5, 2)}}, 'momentum: 2; below 1'),
    ('search', {'optimizer': {'momentum': 3}}, 'momentum: 3; must be'),
    ('search', {'optimizer': {'momentum': ('a', 1)}}, r"\('a', 1\); must be"),
    ('search', {'optimizer': {'momentum': (2, 1)}}, r'\(2, 1\); must be'),
    ('grid', {'batch_size': 4}, 'study.grid.batch_size: 4; must be values'),
    ('grid', {'batch_size': ()}, r'study.grid.batch_size: \(\); must be'),
    ('grid', {'batch_size': (4, 8, 4)}, 'batch_size: 4 stands twice'),
    ('grid', {'batch_size': ('a',)}, "batch_size: 'a'; must be int, such as"),
    ('grid', {'batchsize': (4, 8)}, 'grid.batchsize: no such field; did you'),
    ('grid', {'model': {'depth': (0, 1)}}, 'model.depth: 0; at least 1'),
    ('grid', {'seed': (0, 1)}, 'study.grid.seed: is set by study.seeds'),
    ('grid', RATES, 'learning_rate: is set by study.search already'),
    (
      'grid',
      {'strategy': {'activation_penalty': {'weight': (0.1, 1.0)}}},
      'weight: (is tuned already|no such field)',
    ),
  ],
)  # fmt: skip
def test_a_search_or_grid_that_cannot_be(kind, fields, words, tmp_path):
  """Fault, of each: a value without effect, or a traceback."""
  made = settings()
  made[kind] = ConfigDict(fields)
  refused(made, words, tmp_path / 'study')


@pytest.mark.parametrize(
  ('fields', 'words'),
  [
    ({'trails': 3}, 'study.trails: no such field; did you mean trials'),
    ({'trials': None}, 'study.trials: None; must be int, such as 16'),
    ({'search': None}, 'study.search: None; must be fields, nested as'),
    ({'strategies': None}, 'study.strategies: None; must be tuple, such as'),
    ({'strategies': (1,)}, '--strategies: 1; must be a name'),
    ({'target': None}, 'study.target: None; must be float, such as 0.6'),
  ],
)
def test_a_setting_of_another_kind(fields, words, tmp_path):
  """Fault: a typo in sweep() without effect, a None that ConfigDict takes."""
  refused(settings(**fields), words, tmp_path / 'study')


def test_a_setting_that_is_missing(tmp_path):
  made = settings()
  del made.reference
  refused(made, 'study.reference: is missing; must be str', tmp_path / 'study')


def test_a_grid_over_what_the_rates_set_is_refused(tmp_path):
  made = settings(search=ConfigDict(), grid=ConfigDict(RATES))
  refused(made, 'learning_rate: is set by study.rates', tmp_path / 'study')


def test_a_grid_over_what_a_strategy_tunes_is_refused(tmp_path):
  made = settings(strategies=('activation_penalty',))
  made.grid = ConfigDict(
    {'strategy': {'activation_penalty': {'weight': (1.0, 2.0)}}}
  )
  refused(made, 'weight: is tuned already, as SEARCH', tmp_path / 'study')
