"""Fields of a config that a user sets wrongly: one line, exit code 2."""

import jax
import pytest
import tiny
from hypothesis import assume, given, settings
from hypothesis import strategies as strategies_of
from refusals import FILE, SMALL, as_it_is, refused  # noqa: F401

from bn_jax import config as config_lib
from bn_jax import config_files, layout
from bn_jax.errors import UserError
from bn_jax.fields import flatten

# What is set, by name of the strategy, and what the line must begin with and
# hold: the field, what was given, what is allowed.
OVERRIDES = [
  ('none', 'optimizer.learning_rat=1', 'no such', 'optimizer.learning_rate?'),
  ('none', 'lr=0.1', 'no such field', 'are augment, batch_size, checkpoint.*'),
  ('none', 'model.deep=2', 'no such field', 'model.depth?'),
  ('none', 'optimizer=sgd', 'is a group', 'optimizer.name'),
  ('none', 'strategy=none', 'is a group'),
  ('none', 'strategy.batch_norm.momentum=0.5', 'no such field'),
  ('none', 'strategies=batch_norm', 'given by --config=FILE.py:'),
  ('none', 'batch_size=many', "'many'", 'int'),
  ('none', 'batch_size=1.5', "'1.5'", 'int'),
  ('none', 'batch_size=', 'int'),
  ('none', 'batch_size', 'int'),
  ('none', 'log.sites=perhaps', "'perhaps'", 'bool'),
  ('none', 'optimizer.learning_rate=fast', "'fast'", 'float'),
  ('none', 'model.name=transformer', "'transformer'", 'mlp'),
  ('none', 'model.name=linear_chain', "'linear_chain'", 'model'),
  ('none', 'seed=-1', '-1', '0'),
  ('none', 'seed=4294967296', '4294967296', '4294967295'),
  ('none', 'num_train_steps=0', '0; at least 1'),
  ('none', 'num_train_steps=-20', '-20; at least 1'),
  ('none', 'num_train_steps=3000000000', 'at most 2147483647'),
  ('none', 'num_train_steps=25', '25; must be a multiple of log.every'),
  ('none', 'log.eval_every=15', '15; must be a multiple of log.every'),
  ('none', 'log.every=0', '0; at least 1'),
  ('none', 'log.unit=-1', '-1; at least 0'),
  ('none', 'batch_size=0', '0; at least 1'),
  ('none', 'batch_size=201', '201; the training part has 200'),
  ('none', 'dtype=float8', "'float8'", 'bfloat16'),
  ('none', 'augment=flip', "'flip'", 'crop_and_flip'),
  ('none', 'optimizer.name=sdg', "'sdg'", 'adam'),
  ('none', 'optimizer.schedule=cos', "'cos'", 'cosine'),
  ('none', 'optimizer.learning_rate=-1', '-1.0; at least 0'),
  ('none', 'optimizer.learning_rate=nan', 'nan', 'at least 0'),
  ('none', 'optimizer.learning_rate=inf', 'inf', 'finite'),
  ('none', 'optimizer.learning_rate=1e39', '1e+39', 'at most 3.4e+38'),
  ('none', f'batch_size={10**400}', '000', 'must be finite|has 200'),
  ('none', 'optimizer.momentum=1.5', '1.5', 'below 1'),
  ('none', 'optimizer.momentum=-.1', '-0.1; at least 0'),
  ('none', 'optimizer.nesterov=True', 'no effect without optimizer.momentum'),
  ('none', 'optimizer.weight_decay=-1', '-1.0; at least 0'),
  ('none', 'optimizer.warmup_steps=-1', '-1; at least 0'),
  ('none', 'optimizer.warmup_steps=21', '21; at most num_train_steps'),
  ('none', 'model.depth=0', '0; at least 1'),
  ('none', 'model.width=-4', '-4; at least 1'),
  ('none', 'model.activation=swoosh', "'swoosh'", 'sigmoid'),
  ('none', 'model.site=outside', "'outside'", 'pre_activation'),
  ('none', 'model.kernel_init=good', "'good'", 'orthogonal'),
  ('none', 'model.kernel_stddev=-1', '-1.0; at least 0'),
  ('none', 'model.kernel_stddev=.2', '0.2; has no effect', "'lecun_normal'"),
  ('batch_norm', 'strategy.batch_norm.momentum=1.1', '1.1', 'at most 1'),
  ('batch_norm', 'strategy.batch_norm.epsilon=-1', '-1.0; at least 0'),
  ('batch_norm', 'strategy.batch_norm.average=some', "'some'", 'debiased'),
  ('batch_norm', 'strategy.batch_norm.stop_gradient=all', "'all'", 'both'),
  ('batch_norm', 'strategy.batch_norm.affine=3', "'3'", 'bool'),
  ('renormalize', 'strategy.renormalize.every=0', '0; at least 1'),
  ('activation_penalty', 'strategy.activation_penalty.weight=-1', 'at least 0'),
  ('activation_penalty', 'strategy.activation_penalty.form=l1', "'l1'", 'kl'),
  ('adaptive_grad_clip', 'strategy.adaptive_grad_clip.clipping=0', 'above 0'),
  ('none', 'data.name=mnits1d', "'mnits1d'", 'mnist1d'),
  ('none', 'data.validation_fraction=1', '1', 'between 0 and 1'),
  ('none', 'data.validation_fraction=-.5', '-0.5', 'between 0 and 1'),
  ('none', 'data.limit=-1', '-1; at least 0'),
  ('none', 'data.limit=1', '1', 'batch_size|needs two'),
  ('none', 'mesh.data=0', '0; at least 1'),
  ('none', 'mesh.data=3', '3; must divide'),
  ('none', 'mesh.group=-1', '-1; at least 0'),
  ('none', 'mesh.statistics=mine', "'mine'", 'global'),
  ('none', 'checkpoint.seconds=-1', '-1.0; at least 0'),
  ('none', 'checkpoint.keep=0', '0; at least 1'),
]


@pytest.mark.parametrize(
  'case', OVERRIDES, ids=[f'{c[0]}-{c[1]}' for c in OVERRIDES]
)
def test_an_override(case, capsys, tmp_path):
  names, override, *holds = case
  words = [f'--config={FILE}:{names}', *SMALL, f'--config.{override}']
  message = refused(capsys, tmp_path / 'run', words)
  assert override.split('=')[0] in message
  for part in holds:
    assert any(p in message for p in part.split('|')), message


def test_of_several_values_the_wrong_one_is_named(capsys, tmp_path):
  """Fault: `_explain` that takes the field's first."""
  words = [f'--config.batch_size={x}' for x in ('10', '20', 'abc')]
  message = refused(capsys, tmp_path / 'run', [f'--config={FILE}', *words])
  assert message == "--config.batch_size: 'abc'; must be int, such as 100"


FIELDS = sorted(flatten(config_lib.default('batch_norm')))
WORDS = strategies_of.one_of(
  strategies_of.text(max_size=8),
  strategies_of.integers(-5, 5).map(str),
  strategies_of.floats().map(str),
  strategies_of.sampled_from(['True', 'none', '()', "('a',)", '{}', '=', '']),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(field=strategies_of.sampled_from(FIELDS), value=WORDS)
def test_any_value_of_any_field_is_taken_or_refused_in_a_line(field, value):
  """Fault: `load_config` that lets ValueError through."""
  override = f'--config.{field}={value}'
  try:
    config = config_files.load_config(FILE, 'batch_norm', [override])
  except UserError as error:
    assert '\n' not in str(error)
    assert field.rpartition('.')[2] in str(error)
  else:
    config_lib.validate(config)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(name=strategies_of.text('abdlmrst._', min_size=1, max_size=20))
def test_any_field_that_is_none_is_refused_in_a_line(name):
  assume(name not in FIELDS)
  with pytest.raises(UserError) as error:
    config_files.load_config(FILE, 'batch_norm', [f'--config.{name}=1'])
  assert '\n' not in str(error.value) and name in str(error.value)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
  batch=strategies_of.integers(1, 40),
  data=strategies_of.integers(1, 9),
  members=strategies_of.integers(1, 20),
  group=strategies_of.integers(0, 5),
)
def test_any_shape_is_laid_out_or_refused(batch, data, members, group):
  """Every member has a slot, and every part of a batch the same size."""
  config = tiny.config(batch_size=batch, mesh__data=data, mesh__group=group)
  try:
    config_lib.validate(config)
    found = layout.layout(members, data, group)
  except UserError as error:
    assert str(error).startswith('mesh.data: ')
    assert batch % data or len(jax.devices()) % data
    return
  assert batch % data == 0
  rows = found.mesh.shape['member']
  assert found.slots >= members and found.slots % rows == 0
  assert (found.slots // rows) % found.group == 0
  assert found.slots - members < rows * max(found.group, 1) + rows
