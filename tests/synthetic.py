"""Writes studies with made-up numbers in the layout that records.py writes."""

import json
import re

import numpy as np

LEVEL = {
  'none': 0.55,
  'activation_penalty': 0.61,
  'renormalize': 0.65,
  'batch_norm': 0.72,
}
TIME = {'none': 1.0, 'renormalize': 1.6, 'batch_norm': 1.2}
SPEED = {'none': 1.0, 'renormalize': 0.6, 'batch_norm': 0.85}

ENVIRONMENT = {
  'commit': 'abc1234',
  'python': '3.11.4',
  'cores': 2,
  'devices': ['cpu:cpu', 'cpu:cpu'],
  'packages': {'jax': '0.10.2', 'flax': '0.12.8'},
}


def write_json(path, value):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(value))


def write_run(
  folder,
  strategy='batch_norm',
  seeds=(10, 11, 12),
  rates=(0.1,),
  steps=1000,
  every=10,
  eval_every=100,
  sites=6,
  diverged=(),
  finished=True,
  config=None,
  hparams=None,
):
  """One population; members are seeds x rates, `diverged` are their indices."""
  members = [
    {
      'member': i,
      'seed': int(seed),
      'hparams': {'optimizer.learning_rate': float(rate)} | (hparams or {}),
    }
    for i, (seed, rate) in enumerate((s, r) for s in seeds for r in rates)
  ]
  write_json(folder / 'members.json', members)
  about = _config(strategy, steps, sites) | (config or {})
  write_json(folder / 'config.json', about)
  write_json(folder / 'environment.json', ENVIRONMENT)
  rng = np.random.default_rng(sum(map(ord, strategy)))
  level = np.array([_level(strategy, m, rng) for m in members])[:, None]
  how = (level, rng, sites, strategy, diverged, steps)
  with open(folder / 'curves.jsonl', 'w') as file:
    file.write(_line(np.arange(every, steps + 1, every), *how))
    file.write(_eval_line(np.arange(eval_every, steps + 1, eval_every), *how))
  if finished:
    write_json(
      folder / 'summary.json',
      _summary(strategy, level, members, diverged, steps, rng),
    )
  return folder


def _config(strategy, steps, sites):
  return {
    'strategies': strategy.split('+'),
    'seed': 0,
    'num_train_steps': steps,
    'batch_size': 100,
    'data': {'name': 'mnist1d'},
    'model': {'depth': sites, 'width': 100},
    'optimizer': {'learning_rate': 0.1},
  }


def _level(strategy, member, rng):
  base = LEVEL.get(strategy.split('+')[0], 0.6)
  rate = member['hparams']['optimizer.learning_rate']
  width = {'batch_norm': 1.5, 'renormalize': 1.1}.get(strategy, 0.8)
  off = (np.log10(rate) + 1) / width
  return 0.1 + (base - 0.1) * np.exp(-(off**2)) + rng.normal() * 0.008


def _curve(step, level):
  return 0.1 + (level - 0.1) * (1 - np.exp(-step / 250))


def _noisy(value, rng, scale=0.01):
  return value + scale * rng.normal(size=value.shape)


def _mask(value, diverged, step, steps):
  value = value.copy()
  for i in diverged:
    value[i, step > steps // 2] = np.nan
  return value


def _dump(step, metrics, diverged, steps):
  masked = {
    k: _mask(np.asarray(v), diverged, step, steps).tolist()
    for k, v in metrics.items()
  }
  return json.dumps({'step': step.tolist(), 'metrics': masked}) + '\n'


def _sites(step, rng, sites, strategy, members, prefix=''):
  metrics = {}
  held = {'batch_norm': 0.01, 'renormalize': 0.05, 'activation_penalty': 0.3}
  for k in range(sites):
    drift = held.get(strategy, 1 + 0.4 * k) * (1 - np.exp(-step / 300))
    one = _noisy(np.tile(drift, (members, 1)), rng, 0.02)
    metrics[f'{prefix}site_{k}/distance'] = abs(one)
    if not prefix:
      metrics[f'{prefix}site_{k}/mean'] = one
      metrics[f'{prefix}site_{k}/var'] = (1 - 0.5 * abs(one)) ** 2
  return metrics


def _line(step, level, rng, sites, strategy, diverged, steps):
  accuracy = _noisy(_curve(step, level), rng)
  metrics = {
    'train/loss': 2.3 * (1 - accuracy),
    'train/accuracy': accuracy,
  }
  if strategy == 'renormalize':
    metrics['train/undone'] = _noisy(np.full_like(accuracy, 0.4), rng)
  metrics |= _sites(step, rng, sites, strategy, len(level))
  return _dump(step, metrics, diverged, steps)


def _eval_line(step, level, rng, sites, strategy, diverged, steps):
  accuracy = _noisy(_curve(step, level), rng, 0.004)
  metrics = {
    'validation/loss': 2.3 * (1.02 - accuracy),
    'validation/accuracy': accuracy,
  } | _sites(step, rng, sites, strategy, len(level), 'validation/')
  return _dump(step, metrics, diverged, steps)


def _summary(strategy, level, members, diverged, steps, rng):
  accuracy = (level[:, 0] + 0.004 * rng.normal(size=len(level))).tolist()
  speed = 4000 * SPEED.get(strategy, 0.8)
  return {
    'parameters': 56_410 if strategy == 'none' else 57_010,
    'steps_per_second': speed,
    'seconds': steps * len(members) / speed,
    'diverged_at': [
      steps // 2 if i in diverged else -1 for i in range(len(members))
    ],
    'strategies': strategy.split('+'),
    'test/accuracy': [
      None if i in diverged else a for i, a in enumerate(accuracy)
    ],
    'test/loss': [
      None if i in diverged else 2.3 * (1.02 - a)
      for i, a in enumerate(accuracy)
    ],
    'chance': 0.1,
    'statistics_scope': 'global',
  }


def write_study(
  folder,
  strategies=tuple(LEVEL),
  seeds=range(10, 20),
  variants=('',),
  diverged=None,
  rates=10.0 ** np.arange(-3, 1.1, 0.5),
  curve=(),
):
  """A study; `diverged` says per strategy which final members did.

  With `curve`, learning rates, there is a learning-rate curve.
  """
  depths = [6 + 2 * k for k in range(len(variants))]
  grid = {'model': {'depth': depths}} if len(variants) > 1 else {}
  about = _study_config(strategies, seeds, rates, curve, grid)
  write_json(folder / 'config.json', about)
  write_json(folder / 'environment.json', ENVIRONMENT)
  choice, times = {}, {}
  for strategy in strategies:
    for depth, variant in zip(depths, variants, strict=True):
      name = strategy + (f'-{variant}' if variant else '')
      choice[f'case-{name}'] = _choice(strategy, variant)
      times[f'case-{name}'] = _times(strategy, variant)
      config = {'model': {'depth': depth, 'width': 100}}
      runs = folder / 'runs'
      if curve:
        write_run(runs / f'rates-{name}', strategy, seeds, curve, config=config)
      write_run(
        runs / f'tune-{name}', strategy, (0, 1), rates, eval_every=200,
        every=50, config=config,
      )  # fmt: skip
      write_run(
        runs / f'final-{name}', strategy, seeds, config=config,
        diverged=(diverged or {}).get(strategy, ()),
      )  # fmt: skip
  write_json(folder / 'choice.json', choice)
  write_json(folder / 'times.json', times)
  return folder


def _study_config(strategies, seeds, rates, curve, grid):
  settings = {
    'strategies': list(strategies),
    'trials': len(rates),
    'tuning_seeds': 2,
    'seeds': len(seeds),
    'search': {'optimizer': {'learning_rate': [1e-3, 10]}},
    'grid': grid,
    'rates': [min(curve), max(curve), len(curve)] if curve else [],
    'target': 0.5,
    'reference': 'none',
    'timing_rounds': 5,
  }
  command = 'python -m experiments.compare --config=configs/mnist1d_mlp.py'
  return {'command': command, 'study': settings, 'cases': {}}


def _choice(strategy, variant):
  return {
    'strategy': strategy,
    'variant': variant,
    'search': _search(strategy),
    'hparams': {'optimizer.learning_rate': 0.1},
    'validation/accuracy': LEVEL.get(strategy, 0.6),
    'chance': 0.1,
    'trials': [],
  }


def _search(strategy):
  own = {'strategy.activation_penalty.weight': [1e-4, 10]}
  return {
    'shared': {'optimizer.learning_rate': [1e-3, 10]},
    'own': own if strategy == 'activation_penalty' else {},
  }


def _times(strategy, variant):
  """Rounds on a machine that others slow down, all strategies alike."""
  crowd = np.array([1.0, 3.0, 1.5, 1.0, 2.0])
  noise = np.array([0.98, 1.0, 1.02, 1.01, 0.99])
  seconds = 1e-3 * TIME.get(strategy, 1.1) * crowd
  seconds = seconds * (1 if strategy == 'none' else noise)
  about = {'strategy': strategy, 'variant': variant}
  return about | {'seconds_per_step': seconds.tolist()}


def write_whole_study(folder):
  """A finished study with what any plot on a page asks for."""
  variants = ('model.depth=6', 'model.depth=8')
  write_study(folder, variants=variants)
  for run in folder.glob('runs/*/curves.jsonl'):
    line = run.read_text().splitlines()[0]
    tails = [f'"site_5/p{p}": ' for p in (15, 50, 85)]
    mean = re.search(r'"site_5/mean": (\[\[.*?\]\])', line)[1]
    more = ', '.join(tail + mean for tail in tails)
    text = run.read_text().replace('"metrics": {', f'"metrics": {{{more}, ', 1)
    run.write_text(text)
