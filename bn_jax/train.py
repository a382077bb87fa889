"""The loop: a population from its first step to its summary, on one page."""

import functools
import json
import time
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from bn_jax import config as config_lib
from bn_jax import data, events, hosts, layout, stopping, trees
from bn_jax.errors import UserError
from bn_jax.population import Population
from bn_jax.records import Workdir
from bn_jax.rounds import Rounds
from bn_jax.saving import Point, Saver


def fit(
  config,
  members: list[dict],
  workdir,
  *,
  test: bool = False,
  progress: Callable = lambda steps, taken=True: None,
) -> dict:
  """Trains every member and records it; resumes what was interrupted.

  On several processes all call it with the same arguments; the first writes.

  Args:
    config: A run's ConfigDict.
    members: A dict each, with `seed` and `hparams` (dotted field -> number).
    workdir: The folder of the run, made if it is not there.
    test: Whether the test part is scored at the end.
    progress: Called with a number of steps: (steps, taken=True) for those that
      were just taken, taken=False for those that need not be.

  Returns:
    The summary, which is also in `summary.json`.

  Raises:
    UserError: For a config, data set or workdir that cannot be used.
    Stopped: After SIGTERM or SIGINT, with a checkpoint written.
  """
  config_lib.validate(config)
  config, data_config = config.to_dict(), config.data
  events.check(config)
  folder = Workdir(workdir)

  def look():
    folder.check(config, members)
    return folder.summary(len(members), test)

  done = hosts.on_first(look)
  if done is not None:
    progress(config['num_train_steps'], taken=False)
    return done
  layout.check_chunk(config, len(members))
  dataset = _dataset(config, data_config)
  loop = _Loop(config, dataset, members, folder, progress, test)
  hosts.on_first(lambda: folder.create(config, members, dataset.source))
  return loop.run()


def check(config, members: list[dict], most: int = 0) -> None:
  """Refuses what `fit` would, and writes nothing.

  Args:
    config: A run's ConfigDict.
    members: As for `fit`.
    most: How many members another run of the config has, if more.

  Raises:
    UserError: For a config, data set or strategy that cannot be used.
  """
  config_lib.validate(config)
  config, data_config = config.to_dict(), config.data
  events.check(config)
  layout.check_chunk(config, max(most, len(members)))
  Population(config, _dataset(config, data_config), members[:1]).check()


def _dataset(config, data_config):
  dataset = load(data_config)
  data.check_batch_size(config['batch_size'], dataset.train.num_examples)
  _check_augment(config, dataset)
  return dataset


def load(data_config):
  """`bn_jax.data.load`; the last set is kept, since studies share it."""
  return _load(data_config.to_json())


@functools.lru_cache(maxsize=1)
def _load(text):
  return data.load(ConfigDict(json.loads(text)))


def _check_augment(config, dataset):
  shape = dataset.train.image_shape
  if config['augment'] != 'none' and len(shape) != 3:
    raise UserError(
      f'augment: {config["augment"]!r}; works on images alone, and the '
      f'examples of {dataset.name!r} have the shape {shape}'
    )


class _Loop:
  def __init__(self, config, dataset, members, folder, progress, test):
    self.config, self.dataset, self.folder = config, dataset, folder
    self.progress, self.test = progress, test
    self.total = config['num_train_steps']
    self.population = Rounds(config, dataset, members, hosts.say)
    self.saver = Saver(folder, config['checkpoint'])
    self.events = events.Events(folder.path, config, members)
    # Steps and seconds of the chunks; the first one, which compiles, apart.
    self.timing = {'first': [0, 0.0], 'others': [0, 0.0]}
    self.good = None
    self.broken = np.zeros(len(members), bool)  # whose last score is not finite

  def run(self) -> dict:
    began = time.monotonic()
    with stopping.deferred():
      try:
        self.start()
        while self.good.step < self.total and not self.all_diverged():
          self.chunk()
        summary = self.finish(time.monotonic() - began)
      except stopping.Stopped:
        raise self.stopped() from None
      finally:
        self.saver.close()
        self.events.close()
      if hosts.any_of(stopping.requested())[0]:  # a study must not go on
        raise stopping.stopped('after its last step')
      return summary

  def start(self):
    """Goes on from the last checkpoint, or from step 0."""
    found = self.saver.resume(self.population.like())
    self.events.open(found[1]['step'] if found else 0)
    if found is None:
      state = self.population.initialize()
      self.settle(0, state, self.evaluate(0, state))
      return
    state, about = found
    self.timing['others'] = about['timing']
    self.progress(about['step'], taken=False)
    state = self.population.place(state)
    self.broken = np.array(about.get('broken', False))  # older ones have none
    self.settle(about['step'], state, about['validation'])

  def chunk(self):
    """Takes the steps up to the next evaluation and records them."""
    step, state = self.good.step, self.good.state
    count = min(self.config['log']['eval_every'], self.total - step)
    start = time.monotonic()
    state, metrics = self.population.train(state, step, count)
    self.time(count, time.monotonic() - start)
    self.record(step, count, metrics)
    accuracy = self.evaluate(step + count, state)
    self.settle(step + count, state, accuracy)
    self.progress(count)
    stop, due = hosts.any_of(
      stopping.requested(), hosts.first() and self.saver.due()
    )
    if self.good.step < self.total:
      if stop:
        raise stopping.stopped('')
      if due:
        self.saver.save(self.good, self.population.host)

  def settle(self, step, state, accuracy):
    """Notes a state whose curves are complete."""
    about = {
      'curves': self.folder.so_far,
      'timing': self.timing['others'],
      'validation': accuracy,
      'broken': self.broken.tolist(),
    }
    self.good = Point(step, state, about, accuracy)

  def stopped(self):
    """Saves the last good state; the curves after it are dropped."""
    if self.good is None:
      return stopping.stopped('before the first step')
    self.folder.rewind(self.good.about['curves'])
    if self.good.step:
      self.saver.save(self.good, self.population.host)
    return stopping.stopped(f'at step {self.good.step} of {self.total}')

  def all_diverged(self) -> bool:
    """Whether no member is left; says so."""
    at = self.diverged()[0]
    if (at < 0).any():
      return False
    sites = self.population.sites
    site = self.diverged()[1][at.argmin()]
    where = f', first at {sites[site].path}' if site >= 0 else ''
    every = f'all {len(at)} members' if len(at) > 1 else 'the member'
    hosts.say(
      f'{every} diverged, from step {at.min()} on{where}; '
      f'the run ends at step {self.good.step} of {self.total}'
    )
    self.progress(self.total - self.good.step, taken=False)
    return True

  def diverged(self):
    """Step and site of each member, (members,) each; -1 for none."""
    state, count = self.good.state, len(self.population.members)
    found = hosts.fetch((state.diverged_at, state.diverged_site))
    return [np.asarray(x)[:count] for x in found]

  def failed(self, test_losses):
    """`diverged` at the end: no step saw what the last update broke."""
    at, site = self.diverged()
    broken = self.broken
    if test_losses:
      broken = broken | [loss is None for loss in test_losses]
    return np.where(broken & (at < 0), self.good.step, at), site

  def time(self, steps, seconds):
    kind = 'others' if self.timing['first'][0] else 'first'
    done, spent = self.timing[kind]
    self.timing[kind] = [done + steps, spent + seconds]

  def record(self, first, count, metrics):
    every = self.config['log']['every']
    steps = list(range(first + every, first + count + 1, every))
    self.append(steps, metrics)

  def append(self, steps, metrics):
    """Adds to the curves, and to the event files where they are wanted."""
    self.folder.append(steps, metrics)
    self.events.append(steps, metrics)

  def evaluate(self, step, state) -> float:
    """Records the scores; returns the mean accuracy, 0 for a failed member."""
    scores = self.population.evaluate(state, self.dataset.validation)
    units = {k: scores.pop(k) for k in [*scores] if k.startswith('units/')}
    self.events.histograms(step, units)
    self.append(
      [step], {f'validation/{k}': v[:, None] for k, v in scores.items()}
    )
    # The last one is scored when the run is over, like any other's.
    if self.config['log']['test'] and self.test and step < self.total:
      self.score_test(step, state, self.append)
    self.broken = ~np.isfinite(scores['loss'])
    return float(np.mean(np.nan_to_num(scores['accuracy'])))

  def score_test(self, step, state, append):
    scores = self.population.evaluate(state, self.dataset.test)
    scores = {k: scores[k] for k in ('accuracy', 'loss')}
    append([step], {f'test/{k}': v[:, None] for k, v in scores.items()})
    return {
      f'test/{k}': [float(x) if np.isfinite(x) else None for x in v]
      for k, v in scores.items()
    }

  def finish(self, seconds):
    step, state = self.good.step, self.good.state
    # Where there is but one chunk, it is all there is.
    kind = 'others' if self.timing['others'][0] else 'first'
    steps, spent = self.timing[kind]
    members = len(self.population.members)
    tested = {}
    if self.test:
      tested = self.score_test(step, state, self.folder.append)
    at, site = self.failed(tested.get('test/loss', []))
    shapes = self.population.shapes.params
    summary = {
      'strategies': list(self.config['strategies']),
      'steps': step,
      'parameters': trees.num_parameters(shapes) // self.population.slots,
      'steps_per_second': steps * members / spent if spent else None,
      'seconds': seconds,
      'chance': 1 / self.dataset.num_classes,
      'diverged_at': at.tolist(),
      'diverged_site': site.tolist(),
      'statistics_scope': self.config['mesh']['statistics'],
    }
    if hosts.any_of(self.saver.in_use())[0]:  # then the end is kept, too
      self.saver.save(self.good, self.population.host)
      self.saver.close()
    summary |= tested
    self.folder.write('summary', summary)
    # Now that the run cannot be resumed, so that they are there once.
    self.events.append(
      [step], {k: np.array(v, float)[:, None] for k, v in tested.items()}
    )
    return summary
