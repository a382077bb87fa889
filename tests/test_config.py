"""Fields, their ranges, and how numbers of a member reach them.

Planted and seen: a bound left out, a multiple not checked, `replace` in
place, `replace` that makes a new field, a chain in the order of a dict, a
default of None.
"""

import functools
import json

import pytest
import tiny
from ml_collections import ConfigDict

from bn_jax import config as config_lib
from bn_jax import config_files, models, strategies
from bn_jax.errors import UserError
from bn_jax.fields import flatten


@pytest.mark.parametrize('name', strategies.names())
@pytest.mark.parametrize('model', models.names())
def test_defaults_are_valid(name, model):
  made = config_lib.default(name, model)
  config_lib.validate(made)
  assert made.strategies == (name,)
  assert dict(made.strategy[name]) == strategies.defaults(name)
  json.dumps(made.to_dict())
  # A field that is None has no type, and no command line could set it.
  assert all(value is not None for value in flatten(made).values())


def test_the_order_of_a_chain_is_that_of_its_names():
  """ConfigDict sorts its keys, so that a dict's order would be the alphabet."""
  made = config_lib.default('renormalize+adaptive_grad_clip+lsuv')
  wanted = ('renormalize', 'adaptive_grad_clip', 'lsuv')
  assert made.strategies == wanted and sorted(made.strategy) == sorted(wanted)
  assert config_lib.default('').strategies == ('none',)


def test_without_a_name_the_file_says_which_strategy(tmp_path):
  """Fault: `none`, whatever the file defaults to."""
  path = tmp_path / 'mine.py'
  path.write_text(
    'from bn_jax import config\n'
    "def get_config(names='lsuv+batch_norm'): return config.default(names)\n"
  )
  for names, wanted in (('', ('lsuv', 'batch_norm')), ('none', ('none',))):
    assert config_files.load_config(str(path), names, []).strategies == wanted


@pytest.mark.parametrize(
  'chained, model, words',
  [
    ('batchnorm', 'mlp', "^strategy: 'batchnorm'; .* batch_norm"),
    ('none', 'lenet', "^model.name: 'lenet'; .* mlp"),
  ],
)
def test_unknown_names(chained, model, words):
  with pytest.raises(UserError, match=words):
    config_lib.default(chained, model)


@pytest.mark.parametrize(
  'field, given, words',
  [
    ('num_train_steps', 0, '0; at least 1'),
    ('num_train_steps', 12, '12; must be a multiple of log.every, which is 5'),
    ('log.eval_every', 12, '12; must be a multiple of log.every, which is 5'),
    ('log.every', 0, '0; at least 1'),
    ('log.unit', -1, '-1; at least 0'),
    ('batch_size', 0, '0; at least 1'),
    ('mesh.data', 3, '3; must divide batch_size, which is 16'),
    ('mesh.data', 0, '0; at least 1'),
    ('mesh.group', -1, '-1; at least 0'),
    ('mesh.statistics', 'mine', "'mine'; allowed are global, local"),
    ('dtype', 'int8', "'int8'; allowed are float32"),
    ('augment', 'flip', "'flip'; allowed are none"),
    ('optimizer.learning_rate', -0.1, '-0.1; at least 0'),
    ('optimizer.learning_rate', float('nan'), 'nan; at least 0'),
    ('optimizer.weight_decay', -1.0, '-1.0; at least 0'),
    ('optimizer.warmup_steps', -1, '-1; at least 0'),
    ('optimizer.warmup_steps', 21, '21; at most num_train_steps'),
    ('data.limit', -1, '-1; at least 0'),
    ('checkpoint.keep', 0, '0; at least 1'),
    ('seed', 2**32, '4294967296; at most 4294967295'),
    ('model.depth', 0, '0; at least 1'),
  ],
)
def test_what_is_out_of_range_is_named(field, given, words):
  made = tiny.config()
  config_lib.validate(made)
  made = tiny.config(**{field: given})
  with pytest.raises(UserError, match=f'^{field}: {words}') as caught:
    config_lib.validate(made)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('field', 'given', 'words'),
  [
    ('bath_size', 3, 'bath_size: no such field; did you mean batch_size'),
    ('optimizer.lr', 3.0, 'optimizer.lr: no such field'),
    ('model.dpeth', 3, r'another \(dpeth\)'),
    ('strategy.none', ConfigDict({'x': 3}), 'strategy.none.x: no such field'),
    ('batch_size', None, 'batch_size: None; must be int, such as 100'),
    ('log.probes', None, r'log.probes: None; must be tuple, such as \(\)'),
    ('strategies', None, 'strategies: None; must be tuple'),
    ('strategies', (), r"strategies: \(\); must be such as \('none',\)"),
    ('batch_size', True, 'batch_size: True; must be int, such as 100'),
    ('model.name', None, 'model.name: None; must be str'),
    ('mesh', None, 'mesh: no such field; did you mean mesh'),
  ],
)
def test_what_a_file_writes_is_a_field(field, given, words):
  """Fault: a typo that ConfigDict takes as a new field, without effect."""
  made = config_lib.default('none')
  *groups, name = field.split('.')
  functools.reduce(getattr, groups, made)[name] = given
  with pytest.raises(UserError, match=words):
    config_lib.validate(made)


def test_what_a_file_deletes_is_missing():
  made = config_lib.default('none')
  del made.mesh
  with pytest.raises(UserError, match='data: is missing; must be int'):
    config_lib.validate(made)


def test_every_bound_is_of_a_field():
  for field in config_lib.BOUNDS:
    config_lib.value(config_lib.default(), field)


def test_a_field_by_its_dotted_name():
  made = config_lib.default('batch_norm')
  assert config_lib.value(made, 'strategy.batch_norm.momentum') == 0.9
  for missing in ('lr', 'optimizer.lr', 'batch_size.x', 'strategy.none.x'):
    with pytest.raises(UserError, match=f"no field '{missing}'"):
      config_lib.value(made, missing)


def test_replaced_values_leave_the_rest_and_the_original():
  made = config_lib.default('batch_norm').to_dict()
  new = config_lib.replace(
    made, {'seed': 3, 'strategy.batch_norm.momentum': 0.5}
  )
  assert new['strategy']['batch_norm']['momentum'] == 0.5
  assert made['strategy']['batch_norm']['momentum'] == 0.9
  new['strategy']['batch_norm']['momentum'] = 0.9
  assert new == {**made, 'seed': 3}


@pytest.mark.parametrize(
  'field', ['sed', 'optimizer.rate', 'optimiser.learning_rate', 'seed.x']
)
def test_a_number_for_a_field_that_is_not_there_is_refused(field):
  """Or else a member would run with the default, and say otherwise."""
  with pytest.raises(UserError, match=f"no field '{field}'"):
    config_lib.replace(config_lib.default().to_dict(), {field: 1.0})
