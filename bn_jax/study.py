"""A comparison: tune each strategy with the same budget, then report it.

Tuning seeds choose by validation accuracy; the choice is written to disk;
then fresh seeds train with it and score the test part once.
"""

import functools
import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bn_jax import config as config_lib
from bn_jax import environment, hosts, records, search, timing, train
from bn_jax.errors import UserError

# Tuning seeds start here, so that they are not among those reported.
FIRST_TUNING_SEED = 10_000
TUNE, FINAL, RATES = 'tune', 'final', 'rates'


class Case(NamedTuple):
  """One strategy in one cell of the study's grid."""

  strategy: str
  """Names joined by `+`."""
  variant: str
  """`model.depth=8`, or '' where the study has no grid."""
  config: object
  """The run's ConfigDict."""

  def folder(self, phase: str) -> str:
    """The name of the case's run in a phase: `tune`, `final` or `rates`."""
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
    search.check(settings)
    self.cases = [
      Case(name, variant, search.vary(make_config(name), values))
      for variant, values in search.cells(settings.grid)
      for name in settings.strategies
    ]
    for case in self.cases:
      config_lib.validate(case.config)
      search.check_fields(settings, case.strategy, case.config)

  def total_steps(self) -> int:
    """Run-steps of the whole study."""
    s = self.settings
    each = s.trials * s.tuning_seeds + s.seeds * (1 + len(search.rates(s)))
    return sum(each * case.config.num_train_steps for case in self.cases)

  def total_turns(self) -> int:
    """Turns that `time` takes: each case compiles, then has its rounds."""
    rounds = self.settings.timing_rounds
    if not rounds or (self.path / 'times.json').exists():
      return 0
    return (1 + rounds) * len(self.cases)

  def claim(self, command: str) -> None:
    """Makes the folder this study's, or checks that it is already.

    Raises:
      UserError: For a folder, or a case, that cannot be used.
    """
    if not hosts.on_first(self._is_claimed):
      for case in self.cases:
        train.check(case.config, self._tuning(case)[1], self._most())
      hosts.on_first(lambda: self._create(command))

  def _most(self):
    """Members of the largest run of those that are reported."""
    return self.settings.seeds * max(1, len(search.rates(self.settings)))

  def _check_places(self):
    """Refuses what is in the way of a file that is written hours later."""
    for name in ('', 'runs', 'figures'):
      records.check_folder(self.path / name)
    for name in ('choice.json', 'times.json', 'report.html'):
      if (self.path / name).is_dir():
        raise UserError(
          f'workdir: {self.path / name} is a folder; must be a file, or not '
          'there; move it away'
        )

  def _is_claimed(self):
    self._check_places()
    path = self.path / 'config.json'
    if not path.exists():
      return False
    records.check_version(self.path)
    found = records.read_json(path)
    if 'study' not in found:
      raise UserError(
        f'workdir: {self.path} holds a run, of experiments.train; choose '
        'another --workdir'
      )
    found.pop('command', None)
    difference = records.compare(found, self._wanted())
    if difference:
      raise UserError(
        f'workdir: {self.path} holds another study; '
        f'{difference.removeprefix("cases.case-")}; choose '
        'another --workdir or delete it'
      )
    return True

  def _wanted(self):
    wanted = {
      'study': self.settings.to_dict(),
      'cases': {c.folder('case'): c.config.to_dict() for c in self.cases},
    }
    return json.loads(json.dumps(wanted, default=str))

  def _create(self, command):
    with records.writing(self.path):
      (self.path / 'runs').mkdir(parents=True, exist_ok=True)
      records.write_json(self.path / 'environment.json', environment.here())
      records.write_json(
        self.path / 'config.json', {'command': command, **self._wanted()}
      )

  def _write(self, name, value):
    with records.writing(self.path):
      records.write_json(self.path / f'{name}.json', value)

  def run(self, progress: Callable = lambda *_, **__: None) -> dict:
    """Tunes, writes down the choice, and trains the seeds to be reported.

    Args:
      progress: Called with what is running and how many run-steps it took;
        `taken=False` as for `train.fit`.

    Returns:
      The chosen hyperparameters of each case, by its name in `choice.json`.
    """
    choices = {c.folder('case'): self.tune(c, progress) for c in self.cases}
    hosts.on_first(lambda: self._write('choice', choices))
    hparams = {k: choice['hparams'] for k, choice in choices.items()}
    for case in self.cases:
      members = self._seeds([hparams[case.folder('case')]])
      self._fit(case, FINAL, members, progress, test=True)
    for case in self.cases if self.settings.rates else ():
      members = self._rates(hparams[case.folder('case')])
      self._fit(case, RATES, members, progress, test=False)
    return hparams

  def _seeds(self, points):
    """A member for each point and each seed that is reported."""
    seeds = range(self.settings.seeds)
    return [{'seed': s, 'hparams': p} for p in points for s in seeds]

  def _rates(self, hparams):
    """Each learning rate of the curve, the rest as it was chosen."""
    found = search.rates(self.settings)
    return self._seeds([hparams | {search.RATE: rate} for rate in found])

  def time(self, hparams: dict, progress: Callable) -> None:
    """Times the strategies in turns, cell by cell; writes `times.json`.

    Args:
      hparams: As `run` returns them.
      progress: Called with what is timed and how many turns were taken.
    """
    if not hosts.on_first(self.total_turns):
      return
    times = {}
    for variant in dict.fromkeys(case.variant for case in self.cases):
      label = f'time {variant}'.strip()
      progress(label, 0)
      mine = [case for case in self.cases if case.variant == variant]
      populations = [
        timing.one_each(
          case.config.to_dict(),
          train.load(case.config.data),
          hparams[case.folder('case')],
        )
        for case in mine
      ]
      found = timing.in_turns(
        populations,
        self.settings.timing_rounds,
        progress=functools.partial(progress, label, 1),
      )
      for case, seconds in zip(mine, found, strict=True):
        about = {'strategy': case.strategy, 'variant': case.variant}
        times[case.folder('case')] = about | {'seconds_per_step': seconds}
    hosts.on_first(lambda: self._write('times', times))

  def _tuning(self, case):
    """The points that a case tries, and its members."""
    points = search.trials(self.settings, case.strategy)
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
    self._fit(case, TUNE, members, progress, test=False)
    return hosts.on_first(lambda: self.choose(case, points))

  def choose(self, case: Case, points: list[dict]) -> dict:
    """The trial with the highest final validation accuracy, on average."""
    folder = self.path / 'runs' / case.folder(TUNE)
    accuracy, chance = final_accuracy(folder)
    mean = accuracy.reshape(len(points), -1).mean(1)
    best = int(np.argmax(mean))
    return {
      'strategy': case.strategy,
      'variant': case.variant,
      'search': search.spaces(self.settings, case.strategy),
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
      progress=lambda steps, taken=True: progress(
        label, steps * len(members), taken
      ),
    )


def final_accuracy(folder: pathlib.Path) -> tuple[np.ndarray, float]:
  """Each member's last validation accuracy; chance for one that diverged."""
  summary = records.read_json(folder / 'summary.json')
  chance = summary['chance']
  failed = np.array(summary['diverged_at']) >= 0
  path = folder / records.CURVES
  try:
    accuracy = _last_accuracy(path, len(failed))
  except OSError as error:
    raise UserError(
      f'workdir: {path} cannot be read: {error.strerror}; delete {folder} to '
      'train it again'
    ) from None
  except (ValueError, TypeError, LookupError, AttributeError) as error:
    raise UserError(
      f'workdir: {path} does not hold the curves of {len(failed)} members '
      f'({type(error).__name__}: {error}); delete {folder} to train it again'
    ) from None
  return np.where(failed, chance, accuracy), chance


def _last_accuracy(path, num_members):
  last = [
    json.loads(line)['metrics'].get('validation/accuracy')
    for line in path.read_text().splitlines()
  ]
  accuracy = [m for m in last if m is not None][-1]
  return np.array(accuracy, np.float64)[:, -1].reshape(num_members)
