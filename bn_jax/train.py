"""The loop: a population from its first step to its summary, on one page."""

import functools
import json
import time
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from bn_jax import config as config_lib
from bn_jax import data, trees
from bn_jax.population import Population
from bn_jax.records import Checkpoints, Workdir


def fit(
  config,
  members: list[dict],
  workdir,
  *,
  test: bool = False,
  progress: Callable[[int], None] = lambda steps: None,
) -> dict:
  """Trains every member and records it; resumes what was interrupted.

  Args:
    config: A run's ConfigDict.
    members: A dict each, with `seed` and `hparams` (dotted field -> number).
    workdir: The folder of the run, made if it is not there.
    test: Whether the test part is scored at the end.
    progress: Called with the number of steps that were just taken.

  Returns:
    The summary, which is also in `summary.json`.

  Raises:
    UserError: For a config, data set or workdir that cannot be used.
  """
  config_lib.validate(config)
  config, data_config = config.to_dict(), config.data
  folder = Workdir(workdir)
  folder.check(config, members)
  done = folder.read('summary')
  if done is not None:
    progress(config['num_train_steps'])
    return done
  dataset = load(data_config)
  data.check_batch_size(config['batch_size'], len(dataset.train.label))
  loop = _Loop(config, dataset, members, folder, progress, test)
  folder.create(config, members)
  return loop.run()


def load(data_config):
  """`bn_jax.data.load`; the last set is kept, since studies share it."""
  return _load(data_config.to_json())


@functools.lru_cache(maxsize=1)
def _load(text):
  return data.load(ConfigDict(json.loads(text)))


class _Loop:
  def __init__(self, config, dataset, members, folder, progress, test):
    self.config, self.dataset, self.folder = config, dataset, folder
    self.progress, self.test = progress, test
    self.total = config['num_train_steps']
    self.population = Population(config, dataset, members)
    self.population.check()
    self.checkpoints = None
    self.saved = time.monotonic()

  def run(self) -> dict:
    state, step = self.start()
    total, chunk = self.total, self.config['log']['eval_every']
    began, timed = time.monotonic(), []
    while step < total:
      count = min(chunk, total - step)
      start = time.monotonic()
      state, metrics = self.population.train(state, step, count)
      metrics = self.population.fetch(metrics)  # waits for the chunk
      timed.append((count, time.monotonic() - start))
      self.record(step, count, metrics)
      step += count
      self.evaluate(step, state)
      self.progress(count)
      self.save(step, state, last=step == total)
    return self.finish(state, timed, time.monotonic() - began)

  def start(self):
    state = self.population.initialize()
    if (self.folder.path / 'checkpoints').is_dir():
      restored = self.open().restore(state)
      if restored is not None:
        step = int(np.asarray(restored.step).max())
        self.folder.rewind(step)
        self.progress(step)
        return restored, step
    self.folder.rewind(-1)
    self.evaluate(0, state)
    return state, 0

  def record(self, first, count, metrics):
    every = self.config['log']['every']
    steps = list(range(first + every, first + count + 1, every))
    self.folder.append(steps, metrics)

  def evaluate(self, step, state):
    scores = self.population.evaluate(state, self.dataset.validation)
    self.folder.append(
      [step], {f'validation/{k}': v[:, None] for k, v in scores.items()}
    )
    # The last one is scored when the run is over, like any other's.
    if self.config['log']['test'] and self.test and step < self.total:
      self.score_test(step, state)

  def score_test(self, step, state):
    scores = self.population.evaluate(state, self.dataset.test)
    scores = {k: scores[k] for k in ('accuracy', 'loss')}
    self.folder.append(
      [step], {f'test/{k}': v[:, None] for k, v in scores.items()}
    )
    return {f'test/{k}': v.tolist() for k, v in scores.items()}

  def open(self):
    if self.checkpoints is None:
      keep = self.config['checkpoint']['keep']
      self.checkpoints = Checkpoints(self.folder.path, keep)
    return self.checkpoints

  def save(self, step, state, last):
    if (
      last
      or time.monotonic() - self.saved < self.config['checkpoint']['seconds']
    ):
      return
    self.open().save(step, state)
    self.saved = time.monotonic()

  def finish(self, state, timed, seconds):
    # The first chunk compiles; where there is but one, it is all there is.
    steady = timed[1:] or timed
    steps, spent = map(sum, zip(*steady, strict=True))
    members = len(self.population.members)
    summary = {
      'strategies': list(self.config['strategies']),
      'parameters': trees.num_parameters(state.params)
      // self.population.layout.slots,
      'steps_per_second': steps * members / spent,
      'seconds': seconds,
      'chance': 1 / self.dataset.num_classes,
      'diverged_at': np.asarray(state.diverged_at)[:members].tolist(),
      'diverged_site': np.asarray(state.diverged_site)[:members].tolist(),
      'statistics_scope': self.config['mesh']['statistics'],
    }
    if self.test:
      summary |= self.score_test(self.total, state)
    if self.checkpoints is not None:
      self.checkpoints.close()
    self.folder.write('summary', summary)
    return summary
