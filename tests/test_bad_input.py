"""What a user can get wrong: one line, exit code 2, and nothing written."""

import os
import shutil
import subprocess
import sys

import jax
import pytest
import tiny
from hypothesis import assume, given, settings
from hypothesis import strategies as strategies_of

from bn_jax import cli, devices, layout
from bn_jax import config as config_lib
from bn_jax.errors import UserError
from bn_jax.fields import flatten
from experiments import compare, train

FILE = 'configs/mnist1d_mlp.py'
SMALL = (
  '--config.num_train_steps=20',
  '--config.log.every=10',
  '--config.log.eval_every=10',
  '--config.model.depth=1',
  '--config.model.width=4',
  '--config.data.limit=200',
)


@pytest.fixture(autouse=True)
def as_it_is(monkeypatch):
  """The devices and the cache of the session are set up already."""
  monkeypatch.setattr(devices, 'set_up', lambda *_: None)


def fails(capsys, main, argv):
  """Runs a command that has to fail; returns what its one line says."""
  with pytest.raises(SystemExit) as ended:
    cli.run(main, [str(word) for word in argv])
  lines = [x for x in capsys.readouterr().err.splitlines() if x]
  assert ended.value.code == 2, lines
  (line,) = lines
  kind, _, message = line.partition(': ')
  assert kind == 'error'
  return message


def refused(capsys, workdir, argv, main=train.main):
  """The message for argv, which must not have made the workdir."""
  message = fails(capsys, main, [*argv, f'--workdir={workdir}'])
  assert not workdir.exists()
  return message


# What is set, by name of the strategy, and what the line must begin with and
# hold: the field, what was given, what is allowed.
OVERRIDES = [
  ('none', 'optimizer.learning_rat=1', 'no such', 'optimizer.learning_rate?'),
  ('none', 'lr=0.1', 'no such field', 'allowed are', 'batch_size'),
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
  ('none', 'optimizer.momentum=1.5', '1.5', 'below 1'),
  ('none', 'optimizer.momentum=-.1', '-0.1; at least 0'),
  ('none', 'optimizer.weight_decay=-1', '-1.0; at least 0'),
  ('none', 'optimizer.warmup_steps=-1', '-1; at least 0'),
  ('none', 'optimizer.warmup_steps=21', '21; at most num_train_steps'),
  ('none', 'model.depth=0', '0; at least 1'),
  ('none', 'model.width=-4', '-4; at least 1'),
  ('none', 'model.activation=swoosh', "'swoosh'", 'sigmoid'),
  ('none', 'model.site=outside', "'outside'", 'pre_activation'),
  ('none', 'model.kernel_init=good', "'good'", 'orthogonal'),
  ('none', 'model.kernel_stddev=-1', '-1.0; at least 0'),
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


def config_file(folder, text):
  path = folder / 'its_config.py'
  path.write_text(text)
  return path


FILES = [
  ('def get_config(names:', 'SyntaxError'),
  ('import no_such_module', 'ModuleNotFoundError', 'no_such_module'),
  ('raise RuntimeError("two\\nlines")', 'RuntimeError', 'two lines'),
  ('raise SystemExit(0)', 'SystemExit'),
  ('x = 1', 'no function get_config(names)'),
  ('def get_config(): pass', 'get_config', 'TypeError'),
  ('def get_config(names): return 1 / 0', 'ZeroDivisionError'),
  ('def get_config(names): return {}', 'dict', 'ConfigDict'),
  (
    'from ml_collections import ConfigDict\n'
    'def get_config(names): return ConfigDict({"seed": 0})',
    "no field 'num_train_steps'",
  ),
]


@pytest.mark.parametrize('case', FILES, ids=[c[0][:30] for c in FILES])
def test_a_config_file(case, capsys, tmp_path):
  text, *holds = case
  path = config_file(tmp_path, text)
  message = refused(capsys, tmp_path / 'run', [f'--config={path}:none'])
  for part in holds:
    assert part in message, message


# A whole command line but for the workdir, and what the line must hold.
COMMANDS = [
  (train.main, '--config=configs/mnist1d_mpl.py', 'did you mean', FILE),
  (train.main, '--config=configs', 'configs', 'mnist1d_mlp.py'),
  (train.main, '--config=', 'FILE.py'),
  (train.main, f'--config={FILE} --seed=1', "'--seed=1'", '--config'),
  (train.main, f'--config={FILE} extra', "'extra'", '--workdir'),
  (train.main, f'--confg={FILE}', "'--confg", 'did you mean --config?'),
  (train.main, '', 'required', '--config'),
  (train.main, f'--config={FILE}:batchnorm', "'batchnorm'", 'batch_norm?'),
  (train.main, f'--config={FILE}:none+none', "'none' stands twice"),
  (
    train.main,
    f'--config={FILE}:renormalize --config.model.site=input',
    'strategy renormalize',
    'site_0',
    'pre_activation',
  ),
  (
    train.main,
    f'--config={FILE}:batch_norm+renormalize',
    'strategy renormalize',
    'chained',
  ),
  (
    train.main,
    f'--config={FILE}:renormalize --config.strategy.renormalize.affine=False'
    ' --config.strategy.renormalize.preserve_function=True',
    'preserve_function',
    'affine=False',
  ),
  (
    train.main,
    f'--config={FILE} --config.augment=crop_and_flip',
    'augment',
    'images',
  ),
  (
    train.main,
    f'--config={FILE} --config.log.percentiles=True --config.log.unit=100',
    'log.unit: 100',
    'below 100',
  ),
  (
    train.main,
    f'--config={FILE} --config.data.name=mnist --config.data.data_dir=/nowhere',
    'data.data_dir',
    '/nowhere',
  ),
  (compare.main, f'--config={FILE}:none', 'no file', FILE),
  (compare.main, f'--config={FILE} --seeds=many', '--seeds', "'many'"),
  (compare.main, f'--config={FILE} --seeds=0', 'seeds: 0; at least 1'),
  (compare.main, f'--config={FILE} --trials=-1', 'trials: -1; at least 1'),
  (compare.main, f'--config={FILE} --tuning-seeds=0', '0; at least 1'),
  (compare.main, f'--config={FILE} --strategies=', '--strategies', 'at least'),
  (compare.main, f'--config={FILE} --strategies=none,non', "'non'", 'none?'),
  (compare.main, f'--config={FILE} --strategies=none,none', 'twice'),
  (
    compare.main,
    f'--config={FILE} --config.strategy.lsuv.x=1',
    'strategy.lsuv.x',
    'no strategy of this study',
  ),
  (compare.main, f'--config={FILE} --config.seed=1', 'seed', '--seeds'),
  (
    compare.main,
    f'--config={FILE} --config.optimizer.learning_rate=1',
    'optimizer.learning_rate',
    'tuned',
  ),
  (compare.main, '', 'required', '--config'),
  (compare.main, '--reproduce=nowhere', 'no study in nowhere'),
  (compare.main, f'--reproduce=x --config={FILE}', '--config with --reproduce'),
  (compare.main, '--reproduce=x --config.seed=1', '--config.seed'),
]


@pytest.mark.parametrize('case', COMMANDS, ids=[c[1][-60:] for c in COMMANDS])
def test_a_command(case, capsys, tmp_path):
  main, words, *holds = case
  message = refused(capsys, tmp_path / 'run', words.split(), main)
  for part in holds:
    assert part in message, message


def test_a_config_without_sweep_cannot_be_compared(capsys, tmp_path):
  path = config_file(tmp_path, 'def get_config(names): pass')
  message = refused(
    capsys, tmp_path / 'run', [f'--config={path}'], compare.main
  )
  assert 'no function sweep()' in message
  config_file(tmp_path, 'def get_config(names): pass\ndef sweep(): return 1/0')
  message = refused(
    capsys, tmp_path / 'run', [f'--config={path}'], compare.main
  )
  assert 'sweep() of' in message and 'ZeroDivisionError' in message


def test_a_misspelt_flag_is_named_before_the_one_that_it_hides(capsys):
  words = [f'--config={FILE}', '--wrkdir=runs/x']
  message = fails(capsys, train.main, words)
  assert "'--wrkdir=runs/x'" in message
  assert 'did you mean --workdir?' in message


GOOD = (f'--config={FILE}:none', *SMALL)


def files(folder):
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A run that was trained to its end."""
  folder = tmp_path_factory.mktemp('trained') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(devices, 'set_up', lambda *_: None)
    cli.run(train.main, [*GOOD, f'--workdir={folder}'])
  return folder


def other_config(run):
  return [*GOOD, '--config.batch_size=50'], 'batch_size is 100 there, 50 here'


def other_member(run):
  words = [*GOOD, '--config.optimizer.learning_rate=3']
  return words, 'learning_rate is 0.1 there, 3.0 here'


def field_of_another_version(run):
  path = run / 'config.json'
  path.write_text(path.read_text().replace('"seed"', '"sed"', 1))
  return GOOD, 'is there only'


def other_version(run):
  path = run / 'environment.json'
  path.write_text(path.read_text().replace('"bn_jax": "', '"bn_jax": "9'))
  return GOOD, 'was made by bn_jax 90.1.0, this is 0.1.0'


def no_json(run):
  (run / 'config.json').write_text('{"seed": ')
  return GOOD, 'is not JSON'


def no_members(run):
  (run / 'members.json').unlink()
  return GOOD, 'members is None there'


def strange_json(run):
  (run / 'config.json').write_text('[1, 2]')
  return GOOD, "config.json is not an object but '[1, 2]'; delete it"


@pytest.mark.parametrize(
  'spoil',
  [
    other_config,
    other_member,
    field_of_another_version,
    other_version,
    no_json,
    no_members,
    strange_json,
  ],
)
def test_a_workdir_of_another_run(spoil, trained, capsys, tmp_path):
  """Fault: a `check` that compares no more than the config."""
  run = tmp_path / 'run'
  shutil.copytree(trained, run)
  words, holds = spoil(run)
  before = files(run)
  message = fails(capsys, train.main, [*words, f'--workdir={run}'])
  assert message.startswith('workdir: ') and holds in message, message
  assert files(run) == before


@pytest.mark.parametrize('main', [train.main, compare.main])
def test_a_workdir_that_cannot_be(main, capsys, tmp_path):
  (tmp_path / 'file').write_text('mine')
  words = GOOD if main is train.main else (f'--config={FILE}', *SMALL)
  for path, holds in [
    (tmp_path / 'file', 'is not a folder'),
    (tmp_path / 'file' / 'in' / 'it', 'file is not a folder'),
    ('/proc/bn_jax', 'cannot be written'),
    ('', '--workdir'),
  ]:
    message = fails(capsys, main, [*words, f'--workdir={path}'])
    assert holds in message, message
  assert list(files(tmp_path).values()) == [b'mine']


def test_a_run_is_not_a_study_and_a_study_not_a_run(trained, capsys):
  words = [f'--config={FILE}', *SMALL, f'--workdir={trained}']
  assert 'holds another study' in fails(capsys, compare.main, words)


def test_a_strategy_that_cannot_act_is_refused_before_the_others_train(
  capsys, tmp_path
):
  """Fault: `Study.claim` that checks no case."""
  words = [f'--config={FILE}', *SMALL, '--config.model.site=input']
  message = refused(capsys, tmp_path / 'study', words, compare.main)
  assert 'strategy renormalize' in message


@pytest.mark.parametrize(
  'words, code',
  [
    ([], 2),
    ([f'--config={FILE}', '--wrkdir=x'], 2),
    ([*GOOD, '--config.batch_size=0'], 2),
    ([*GOOD, '--config.mesh.data=7'], 2),
  ],
)
def test_as_a_program(words, code, tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.train', *words]
    + [f'--workdir={tmp_path / "run"}'] * bool(words[1:] and words[2:]),
    capture_output=True,
    text=True,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
  )
  assert done.returncode == code
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert not (tmp_path / 'run').exists()


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
    config = cli.load_config(FILE, 'batch_norm', [override])
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
    cli.load_config(FILE, 'batch_norm', [f'--config.{name}=1'])
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
