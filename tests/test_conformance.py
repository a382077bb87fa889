"""The suite passes on bn_jax, and sees what is wrong with a wrong layer."""

import subprocess
import sys

import jax.numpy as jnp
import pytest

from experiments import conformance
from experiments.conformance_suite import adapters, cases, scoreboard
from experiments.conformance_suite.adapters.base import NotSupported
from experiments.conformance_suite.adapters.bn_jax_peer import BnJax
from experiments.conformance_suite.case import TOLERANCES
from experiments.conformance_suite.cases import outputs

EVERY = cases.every()
QUICK = (
  '(N, T, C), float32',
  'N(1e4, 1)',
  'nothing of one channel',
  'NaN as padding under a mask',
  'nothing counts, NaN padding: finite output',
  'unequal masks under vmap',
  '(N, C, H, W), axis=1, 1, 10 and 1,000 steps, bfloat16',
  'cumulative average, 50 steps',
  'jvp',
  "a PyTorch state_dict's four arrays",
)


def ids(case):
  return f'{case.group}, {case.name}'


def check(case):
  score = scoreboard.score(case, adapters.load('bn_jax'))
  assert score.error is not None, 'every case applies to bn_jax'
  assert score.passed, score


@pytest.mark.parametrize('case', [c for c in EVERY if c.name in QUICK], ids=ids)
def test_bn_jax_passes(case):
  check(case)


@pytest.mark.slow
@pytest.mark.parametrize(
  'case', [c for c in EVERY if c.name not in QUICK], ids=ids
)
def test_bn_jax_passes_the_rest(case):
  check(case)


def test_quick_ones_are_all_there():
  assert len({c for c in EVERY if c.name in QUICK}) == len(QUICK)
  assert len({ids(c) for c in EVERY}) == len(EVERY)


@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('shape', outputs.SHAPES)
def test_outputs_and_running_statistics_of_every_shape_and_dtype(shape, dtype):
  names = {c.name for c in EVERY}
  assert f'{shape}, {dtype}' in names
  assert f'{shape}, 1, 10 and 1,000 steps, {dtype}' in names


def test_padding_that_is_seen_fails():
  class Sees(BnJax):
    def output(self, spec, x, scale, bias, mask=None):
      return super().output(spec, x, scale, bias, mask) + 0 * scale * x

  chosen = [c for c in EVERY if 'padding' in c.name and 'stay' not in c.name]
  scores = [scoreboard.score(c, Sees()) for c in chosen]
  assert len(scores) == 4
  assert [s.cell() for s in scores] == ['fails: inf'] * 4


class Wrong(BnJax):
  """A layer that forgets the bias, and one of whose features is missing."""

  name = 'wrong'

  def output(self, spec, x, scale, bias, mask=None):
    return super().output(spec, x, scale, 0 * bias, mask)

  def transforms(self):
    raise NotSupported('transformations')

  def stats(self, spec, state):
    raise RuntimeError('no statistics\nand a second line')


def test_wrong_layer_fails_and_is_reported():
  chosen = [
    c
    for c in EVERY
    if c.name in ('(N, C), float32', 'jvp', 'cumulative average, 50 steps')
  ]
  peers = [adapters.load('bn_jax'), Wrong()]
  rows = []
  scores = scoreboard.run(chosen, peers, lambda *row: rows.append(row))
  assert len(rows) == 3
  assert [scoreboard.totals(scores, p) for p in peers] == ['3 of 3', '0 of 2']
  text = scoreboard.markdown(chosen, peers, scores, 'the command')
  assert 'fails: raises' in text and 'RuntimeError: no statistics\n' in text
  assert '### bn_jax\n\nNone.' in text
  assert 'x = (rng.normal(1, 2, (32, 5))).astype' in text
  assert '| jvp | 0.0001 | ' in text and '| n/a |' in text


def test_error_of_what_is_not_finite_is_a_failure():
  class NotFinite(Wrong):
    def output(self, spec, x, scale, bias, mask=None):
      return jnp.full_like(x, jnp.nan)

  case = next(c for c in EVERY if c.name == '(N, C), float32')
  score = scoreboard.score(case, NotFinite())
  assert score.cell() == 'fails: inf' and not score.passed


def run(*arguments):
  command = [sys.executable, '-m', 'experiments.conformance', *arguments]
  return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_prints_and_writes(tmp_path):
  out = tmp_path / 'report.md'
  done = run('--case=N(1e3, 1)', '--peers=bn_jax,flax_linen', f'--out={out}')
  assert done.returncode == 0, done.stderr
  assert 'bn_jax: 1 of 1' in done.stdout and 'flax.linen: 0 of 1' in done.stdout
  assert 'error 0.04' in out.read_text()
  assert run('--peers=nobody').returncode == 2


def test_bn_jax_failing_is_the_exit_code(monkeypatch, capsys):
  monkeypatch.setattr(adapters, 'load', lambda name: Wrong())
  monkeypatch.setattr(Wrong, 'name', 'bn_jax')
  assert conformance.main(['--case=(N, C), float32', '--peers=bn_jax']) == 1
  assert 'bn_jax: 0 of 1' in capsys.readouterr().out
