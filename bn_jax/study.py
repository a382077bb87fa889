"""A comparison: tune each strategy with the same budget, then report it.

Tuning seeds choose by validation accuracy; the choice is written to disk;
then fresh seeds train with it and score the test part once.
"""

import itertools
import json
import math
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

from bn_jax import config as config_lib
from bn_jax import hosts, records, strategies, train
from bn_jax.errors import UserError, bounded
from bn_jax.fields import flatten

# Tuning seeds start here, so that they are not among those reported.
FIRST_TUNING_SEED = 10_000
# Strategies share a sequence of this many dimensions: the first are the
# shared fields, the next a strategy's own.
DIMENSIONS = 8


class Case(NamedTuple):
  """One strategy in one cell of the study's grid."""

  strategy: str
  """Names joined by `+`."""
  variant: str
  """`model.depth=8`, or '' where the study has no grid."""
  config: object
  """The run's ConfigDict."""

  def folder(self, phase: str) -> str:
    """The name of the case's run in a phase, `tune` or `final`."""
    return '-'.join(filter(None, (phase, self.strategy, self.variant)))


class Study:
  """A comparison over strategies and the cells of a grid.

  Attributes:
    cases: Everything that is trained, in the order of the report.
  """

  def __init__(self, make_config: Callable, settings, workdir):
    """Checks every config before anything runs.

    Args:
      make_config: (strategy names joined by `+`) -> a run's ConfigDict.
      settings: As of `bn_jax.config.study`.
      workdir: The folder of the study.

    Raises:
      UserError: For a config or setting that cannot be used.
    """
    self.settings, self.path = settings, pathlib.Path(workdir)
    _check(settings)
    self.cases = [
      Case(name, variant, _with(make_config(name), values))
      for variant, values in cells(settings.grid)
      for name in settings.strategies
    ]
    for case in self.cases:
      config_lib.validate(case.config)

  def total_steps(self) -> int:
    """Run-steps of the whole study."""
    s = self.settings
    each = s.trials * s.tuning_seeds + s.seeds
    return sum(each * case.config.num_train_steps for case in self.cases)

  def claim(self, command: str) -> None:
    """Makes the folder this study's, or checks that it is already.

    Raises:
      UserError: For a folder, or a case, that cannot be used.
    """
    if not hosts.on_first(self._is_claimed):
      for case in self.cases:
        train.check(case.config, self._tuning(case)[1])
      hosts.on_first(lambda: self._write(command))

  def _is_claimed(self):
    records.check_folder(self.path)
    path = self.path / 'config.json'
    if not path.exists():
      return False
    records.check_version(self.path)
    found = records.read_json(path)
    found.pop('command', None)
    difference = records.compare(found, self._wanted())
    if difference:
      raise UserError(
        f'workdir: {self.path} holds another study; {difference}; choose '
        'another --workdir or delete it'
      )
    return True

  def _wanted(self):
    wanted = {
      'study': self.settings.to_dict(),
      'cases': {c.folder('case'): c.config.to_dict() for c in self.cases},
    }
    return json.loads(json.dumps(wanted, default=str))

  def _write(self, command):
    with records.writing(self.path):
      (self.path / 'runs').mkdir(parents=True, exist_ok=True)
      records.write_json(self.path / 'environment.json', records.environment())
      records.write_json(
        self.path / 'config.json', {'command': command, **self._wanted()}
      )

  def run(self, progress: Callable[[str, int], None]) -> None:
    """Tunes, writes down the choice, and trains the seeds to be reported.

    Args:
      progress: Called with what is running and how many run-steps it took.
    """
    choices = {c.folder('case'): self.tune(c, progress) for c in self.cases}
    hosts.on_first(lambda: self._write_choice(choices))
    for case in self.cases:
      hparams = choices[case.folder('case')]['hparams']
      members = [
        {'seed': seed, 'hparams': hparams}
        for seed in range(self.settings.seeds)
      ]
      self._fit(case, 'final', members, progress, test=True)

  def _write_choice(self, choices):
    with records.writing(self.path):
      records.write_json(self.path / 'choice.json', choices)

  def _tuning(self, case):
    """The points that a case tries, and its members."""
    points = trials(self.settings, case.strategy)
    seeds = range(self.settings.tuning_seeds)
    members = [
      {'seed': FIRST_TUNING_SEED + seed, 'hparams': point}
      for point in points
      for seed in seeds
    ]
    return points, members

  def tune(self, case: Case, progress) -> dict:
    """Trains a case's trials and returns the best by validation accuracy."""
    points, members = self._tuning(case)
    self._fit(case, 'tune', members, progress, test=False)
    return hosts.on_first(lambda: self.choose(case, points))

  def choose(self, case: Case, points: list[dict]) -> dict:
    """The trial with the highest final validation accuracy, on average."""
    folder = self.path / 'runs' / case.folder('tune')
    accuracy, chance = final_accuracy(folder)
    mean = accuracy.reshape(len(points), -1).mean(1)
    best = int(np.argmax(mean))
    return {
      'strategy': case.strategy,
      'variant': case.variant,
      'hparams': points[best],
      'validation/accuracy': float(mean[best]),
      'chance': chance,
      'trials': [
        {'hparams': p, 'validation/accuracy': float(m)}
        for p, m in zip(points, mean, strict=True)
      ],
    }

  def _fit(self, case, phase, members, progress, test):
    label = f'{phase} {case.strategy} {case.variant}'.strip()
    folder = self.path / 'runs' / case.folder(phase)
    progress(label, 0)
    train.fit(
      case.config,
      members,
      folder,
      test=test,
      progress=lambda steps: progress(label, steps * len(members)),
    )


def trials(settings, strategy: str) -> list[dict[str, float]]:
  """The points that a strategy tries, log-uniform and quasi-random.

  What strategies share they try at the same values: dimension i of one
  scrambled Sobol sequence belongs to the i-th shared field.
  """
  space = dict(flatten(settings.search))
  for name in strategy.split('+'):
    for argument, limits in strategies.search(name).items():
      space[f'strategy.{name}.{argument}'] = limits
  if len(space) > DIMENSIONS:
    raise UserError(
      f'study.search: {len(space)} fields to tune; at most {DIMENSIONS}'
    )
  sobol = qmc.Sobol(DIMENSIONS, scramble=True, rng=np.random.default_rng(0))
  unit = sobol.random_base2(math.ceil(math.log2(settings.trials)))
  unit = unit[: settings.trials]
  return [
    {
      field: float(f'{low * (high / low) ** u:.4g}')
      for (field, (low, high)), u in zip(space.items(), row, strict=False)
    }
    for row in unit
  ]


def cells(grid) -> list[tuple[str, dict]]:
  """The cells of a grid as (name, {dotted field: value})."""
  axes = flatten(grid)
  return [
    (
      ','.join(f'{k}={v}' for k, v in zip(axes, values, strict=True)),
      dict(zip(axes, values, strict=True)),
    )
    for values in itertools.product(*axes.values())
  ]


def final_accuracy(folder: pathlib.Path) -> tuple[np.ndarray, float]:
  """Each member's last validation accuracy; chance for one that diverged."""
  summary = records.read_json(folder / 'summary.json')
  chance = summary['chance']
  last = [
    json.loads(line)['metrics'].get('validation/accuracy')
    for line in (folder / 'curves.jsonl').read_text().splitlines()
  ]
  accuracy = [m for m in last if m is not None][-1]
  accuracy = np.array(accuracy, np.float64)[:, -1]
  failed = np.array(summary['diverged_at']) >= 0
  return np.where(failed, chance, accuracy), chance


def _with(config, values):
  config.update_from_flattened_dict(values)
  return config


def _check(settings):
  for field in ('trials', 'tuning_seeds', 'seeds'):
    bounded(f'study.{field}', settings[field], least=1)
  if not settings.strategies:
    raise UserError('--strategies: none given; at least one')
  for name in settings.strategies:
    if settings.strategies.count(name) > 1:
      raise UserError(f'--strategies: {name!r} stands twice; once is allowed')
  for field, (low, high) in flatten(settings.search).items():
    if not 0 < low <= high:
      raise UserError(
        f'study.search.{field}: ({low}, {high}); must be 0 < low <= high'
      )
