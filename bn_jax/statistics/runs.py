"""From a table of rows to a number per run: scores, failures, steps."""

import numpy as np

GROUP = ['strategy', 'variant']


def failure(metric, chance):
  """What a run that diverged scores: chance accuracy, or the loss of a guess.

  Args:
    metric: a name; `.../accuracy` and `.../loss` (nats) have such a level.
    chance: 1 / number of classes.
  """
  if metric.endswith('accuracy'):
    return chance
  return -np.log(chance) if metric.endswith('loss') else np.nan


def finals(df, metric, *, chance=0.1):
  """The last value of a metric per member; a failure if it diverged.

  Returns:
    A DataFrame with a row per (run, member): `run`, `strategy`, `variant`,
    `member`, `seed`, `learning_rate`, the dotted hyperparameters, `diverged_at`
    and `score`.
  """
  keys = ['run', 'member']
  about = [*GROUP, 'seed', 'learning_rate', 'diverged_at']
  about += [c for c in df.columns if '.' in c and '/' not in c]
  rows = (
    df.sort_values([*keys, 'step'])
    .groupby(keys, sort=False)
    .agg({name: 'first' for name in about} | {metric: 'last'})
  )
  rows = rows.rename(columns={metric: 'score'}).reset_index()
  rows.loc[rows.diverged_at >= 0, 'score'] = failure(metric, chance)
  return rows


def with_failures(df, metric, *, chance=0.1):
  """`metric` of every row, at `failure` from where its member diverged."""
  dead = (df.diverged_at >= 0) & (df.step >= df.diverged_at)
  return df[metric].mask(dead, failure(metric, chance))


def steps_to(df, metric, target):
  """Steps until a metric first reaches a target, per member.

  Returns:
    A DataFrame with a row per (run, member): `run`, `strategy`, `variant`,
    `member`, `seed` and `steps`, inf if the target was never reached (right-
    censored) or the member diverged.
  """
  keys = ['run', *GROUP, 'member', 'seed']
  reached = (df[metric] >= target) & (df.diverged_at < 0)
  steps = df.step.astype(float).where(reached, np.inf)
  steps = steps.groupby([df[k] for k in keys], sort=False).min()
  return steps.rename('steps').reset_index()
