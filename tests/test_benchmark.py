"""The dispatcher of benchmarks, and batch norm's, for a round."""

import json
import subprocess
import sys

import pytest

from bn_jax import allocator, cli, devices
from experiments import benchmark, train
from experiments.benchmarks import batch_norm, harness, start, trainer


def run(*arguments):
  command = [sys.executable, *arguments]
  return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_them_without_jax():
  done = run('-X', 'importtime', '-m', 'experiments.benchmark', '--help')
  assert done.returncode == 0
  assert 'batch_norm    Batch norm, forward and backward' in done.stdout
  assert 'harness' not in done.stdout
  assert ' jax' not in done.stderr


def test_unknown_name_is_one_line_and_2(capsys):
  assert benchmark.main(['batchnorm']) == 2
  error = capsys.readouterr().err
  assert error.startswith(
    "error: benchmark: 'batchnorm'; allowed are batch_norm"
  )
  assert error.count('\n') == 1


def test_batch_norm_measures_and_writes(tmp_path, capfd):
  out = tmp_path / 'table.md'
  arguments = ['--rounds=2', '--shapes=(8,3)', '--dtypes=float32']
  assert benchmark.main(['batch_norm', *arguments, f'--out={out}']) == 0
  text = out.read_text()
  for words in ('## Time, float32', '## Memory'):
    assert words in text
  rows = [r for r in text.splitlines() if r.startswith('| (8, 3)')]
  assert len(rows) == 3  # the allocator as it is, + malloc, memory
  heads = [r for r in text.splitlines() if r.startswith('| shape')]
  assert [r.count('|') for r in heads] == [r.count('|') for r in rows[1:]]
  for column in ('PyTorch contiguous / Flax', 'peak: bn_jax'):
    assert any(column in head for head in heads)
  capfd.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['trainer', 'convnet'])
def test_loops_are_measured_against_each_other(name, tmp_path):
  out = tmp_path / 'table.md'
  extra = ['--images=28x28x1'] if name == 'convnet' else []
  flags = [name, *extra, '--rounds=1', f'--out={out}']
  done = run('-m', 'experiments.benchmark', *flags)
  assert done.returncode == 0, done.stderr[-2000:]
  rows = [r for r in out.read_text().splitlines() if r.startswith('| ')]
  rates = {r.split('|')[1].strip(): r.split('|')[2] for r in rows}
  for arm in ('bn_jax', 'Flax loop'):
    assert float(rates[arm].replace(',', '')) > 0


def test_populations_are_measured_by_size(tmp_path, monkeypatch, capfd):
  given = []

  def measure(commands, rounds):
    given.append(commands)
    return {arm: [float(rounds)] for arm in commands}

  monkeypatch.setattr(harness, 'measure', measure)
  assert not benchmark.main(['trainer', '--members=1,64', '--rounds=2'])
  assert 'population of 64' in capfd.readouterr().out
  assert [commands['population of 64'] for commands in given] == [
    [['experiments.benchmarks.trainer', 'bn_jax', strategy, '1', '64']]
    for strategy in ('none', 'batch_norm')
  ]
  monkeypatch.setattr(devices, 'set_up', lambda: None)  # this process is
  assert trainer.ours('none', False, 3)() == 3 * 1600


def test_starts_are_measured_arm_by_arm(tmp_path, monkeypatch, capfd):
  monkeypatch.setattr(start, 'STRATEGIES', ('none',))
  out = tmp_path / 'table.md'
  start.main(['--rounds=1', f'--out={out}'])
  text = out.read_text()
  rows = [r.split(' | ') for r in text.splitlines() if r.startswith('| none')]
  assert [row[1] for row in rows] == list(start.ARMS)
  assert all(float(row[2]) > 0 for row in rows)
  assert 'seconds until the first step' in capfd.readouterr().out


def test_arm_keeps_the_input_and_little_else():
  arm = batch_norm._Arm('jax', '')
  try:
    facts = json.loads(arm.ask('prepare (256, 64) bfloat16'))
    assert 1 <= facts['bn_jax']['kept'] < 1.2 < facts['flax']['kept']
    # x and d go in, y and dx come out.
    assert 4 <= facts['bn_jax']['peak'] <= facts['flax']['peak']
    assert all(float(arm.ask(f'go {name}')) > 0 for name in facts)
    assert arm.ask('peak bn_jax (256, 64) bfloat16').strip() == 'null'
  finally:
    arm.close()


def test_ratio_is_the_median_within_rounds():
  times = {'a': [1.0, 20.0, 3.0], 'b': [2.0, 10.0, 3.0]}
  assert batch_norm._ratio(times, 'a', 'b') == '1.00'
  assert batch_norm._ratio(times, 'a', 'c') == 'n/a'


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc')
def test_allocator_sets_glibcs_thresholds():
  code = 'from bn_jax import allocator; print(allocator.raise_thresholds())'
  assert run('-c', code).stdout.strip() in ('True', 'False')


@pytest.mark.parametrize('value, raised', [('1', 1), ('0', 0), ('', 0)])
def test_allocator_is_opt_in(monkeypatch, value, raised):
  calls = []
  monkeypatch.setattr(allocator, 'raise_thresholds', lambda: calls.append(1))
  monkeypatch.setenv(allocator.VARIABLE, value)
  with pytest.raises(SystemExit):
    cli.run(train.main, ['--help'])
  assert len(calls) == raised


def test_allocator_refuses_what_it_does_not_know(monkeypatch, capsys):
  monkeypatch.setenv(allocator.VARIABLE, 'yes')
  with pytest.raises(SystemExit) as ended:
    cli.run(train.main, ['--help'])
  assert ended.value.code == 2
  said = "error: BN_JAX_MALLOPT: 'yes'; allowed are 1 and 0\n"
  assert capsys.readouterr().err == said


def test_allocator_elsewhere_does_nothing(monkeypatch):
  monkeypatch.setattr(sys, 'platform', 'darwin')
  assert allocator.raise_thresholds() is False


@pytest.mark.parametrize(
  'shape, ours, flax, copy, wanted',
  [
    ((60, 100), 1.0, 1.0, 0.1, []),  # small: no bound
    ((60, 100), 1.5, 1.0, 0.1, ["1.50 of Flax's time, 1.0 asked"]),
    ((1024, 1024), 1.0, 1.0, 0.6, ["1.00 of Flax's time, 0.9 asked"]),
    ((1024, 1024), 0.8, 1.0, 0.2, ['4.00 of the bound, 2.0 asked']),
    ((1024, 1024), 0.9, 1.0, 0.5, []),
  ],
)
def test_page_names_what_misses_the_limits(shape, ours, flax, copy, wanted):
  times = {('bn_jax', ''): [ours], ('flax', ''): [flax], ('copy', ''): [copy]}
  row = (shape, 'float32', {}, times)
  missed = batch_norm._held_against_limits([row])[2:]
  head = f'- {shape}, as it is: '
  assert missed == ([head + w for w in wanted] or ['- nothing'])
