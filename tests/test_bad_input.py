"""Commands and config files that cannot be: one line, exit code 2.

Fields are in tests/test_bad_overrides.py, workdirs in test_bad_workdirs.py,
data sets in test_bad_sets.py, `watch` in test_bad_watch.py.
"""

import os
import pathlib
import subprocess
import sys

import pytest
from refusals import FILE, GOOD, SMALL, as_it_is, fails, refused  # noqa: F401

from bn_jax import devices
from bn_jax.errors import UserError
from experiments import compare, train


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
    'augment: is missing; must be str, such as ',
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
  (
    train.main,
    f'--config={FILE}:none --config.optimizer.momentum=.9 '
    '--config.optimizer.name=adam',
    'optimizer.momentum: has no effect under adam',
  ),
  (
    train.main,
    f'--config={FILE}:batch_norm --config.strategy.batch_norm.momentum=.5 '
    '--config.strategy.batch_norm.average=cumulative',
    'strategy.batch_norm.momentum: has no effect',
  ),
  (
    compare.main,
    '--config=configs/mnist_sigmoid.py --config.model.kernel_init=he_normal '
    '--config.data.name=mnist1d --config.num_train_steps=100 '
    '--config.log.eval_every=100',
    "model.kernel_init: 'he_normal'; must be normal",
  ),
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
  *[
    (
      main,
      f'--config={FILE} --config.num_train_steps=2000000000 '
      f'--config.log.eval_every=2000000000 --config.log.every=10',
      'log.eval_every: 2000000000; the indices of 2000000000 steps take',
      holds,
    )
    for main, holds in [
      (train.main, 'at most 2684350, for 1 GiB'),
      (compare.main, 'GiB (10 members, batch_size 100); at most 268430'),
    ]
  ],
  (compare.main, f'--config={FILE}:none', 'no file', FILE),
  (compare.main, '--config=config/mnist1d_mlp.py', 'no file', f'mean {FILE}?'),
  (compare.main, '--config=nowhere/mnist.py', 'no file', 'must be FILE.py'),
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
    'tuned as sweep()',
  ),
  (
    compare.main,
    f'--config={FILE} --config.strategy.activation_penalty.weight=1',
    'strategy.activation_penalty.weight',
    'tuned as SEARCH',
  ),
  (
    compare.main,
    '--config=configs/mnist1d_depth.py --config.model.depth=3',
    'model.depth',
    'varied as sweep()',
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


@pytest.mark.parametrize('where', [':1', 'here', 'here:', 'here:x', ':'])
def test_a_coordinator(where):
  """Fault: a check of the port alone."""
  with pytest.raises(UserError) as error:
    devices.check(where, 2, 0)
  assert str(error.value) == f'--coordinator: {where!r}; must be HOST:PORT'


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
  config_file(tmp_path, 'def get_config(names): pass\ndef sweep(): return 1')
  message = refused(
    capsys, tmp_path / 'run', [f'--config={path}'], compare.main
  )
  assert 'returns a int; must be a ConfigDict' in message


def test_a_misspelt_flag_is_named_before_the_one_that_it_hides(capsys):
  words = [f'--config={FILE}', '--wrkdir=runs/x']
  message = fails(capsys, train.main, words)
  assert "'--wrkdir=runs/x'" in message
  assert 'did you mean --workdir?' in message


def test_a_strategy_that_cannot_act_is_refused_before_the_others_train(
  capsys, tmp_path
):
  """Fault: `Study.claim` that checks no case."""
  words = [f'--config={FILE}', *SMALL, '--config.model.site=input']
  message = refused(capsys, tmp_path / 'study', words, compare.main)
  assert 'strategy renormalize' in message


def refused_program(words, workdir, **environ):
  """What a program's one line says, under variables of its environment."""
  done = subprocess.run(
    [sys.executable, '-m', *words, f'--workdir={workdir}'],
    capture_output=True,
    text=True,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environ},
  )
  assert done.returncode == 2
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert not workdir.exists()
  return done.stderr.removeprefix('error: ')


@pytest.mark.parametrize(
  'words',
  [
    [],
    [f'--config={FILE}', '--wrkdir=x'],
    [*GOOD, '--config.batch_size=0'],
    [*GOOD, '--config.mesh.data=7'],
  ],
)
def test_as_a_program(words, tmp_path):
  refused_program(['experiments.train', *words], tmp_path / 'run')


TRAIN = ['experiments.train', *GOOD]
# A variable that JAX reads, and what the line must begin with and hold.
ENVIRONMENT = [
  (TRAIN, 'JAX_PLATFORMS', 'foo', "'foo'; JAX finds none", 'is here: cpu'),
  (TRAIN, 'JAX_NUM_CPU_DEVICES', 'abc', "'abc'; JAX does not take it"),
  (TRAIN, 'JAX_NUM_CPU_DEVICES', '0', '0; at least 1'),
  (TRAIN, 'JAX_ENABLE_X64', 'abc', "'abc'; JAX does not take it"),
  (
    ['experiments.compare', '--reproduce=x'],
    'JAX_NUM_CPU_DEVICES',
    'abc',
    "'abc'; JAX does not take it",
  ),
]


@pytest.mark.parametrize(
  'case', ENVIRONMENT, ids=[f'{c[1]}={c[2]}-{c[0][0]}' for c in ENVIRONMENT]
)
def test_a_variable_of_the_environment(case, tmp_path):
  """Fault: a line that blames the config, whose import woke JAX up."""
  words, name, value, *holds = case
  message = refused_program(words, tmp_path / 'run', **{name: value})
  assert message.startswith(f'{name}: ')
  for part in holds:
    assert part in message, message


@pytest.mark.skipif(
  any(pathlib.Path('/dev').glob('nvidia*')), reason='there is a GPU'
)
def test_a_gpu_that_is_not_there(tmp_path):
  """JAX itself ends in an AssertionError without a word."""
  message = refused_program(TRAIN, tmp_path / 'run', JAX_PLATFORMS='cuda')
  assert message.startswith("JAX_PLATFORMS: 'cuda'; JAX finds none of it")
  assert 'is here: cpu' in message
