"""Trains one strategy, or a chain of them, and records its curves.

  python -m experiments.train --config=configs/mnist1d_mlp.py:batch_norm \\
      --workdir=runs/bn
  python -m experiments.train --workdir=runs/agc \\
      --config=configs/mnist1d_mlp.py:batch_norm+adaptive_grad_clip \\
      --config.optimizer.learning_rate=0.1 --config.seed=3

Every field of the config can be set with --config.FIELD=VALUE. The same
command goes on with what was interrupted. To read the curves:

  from bn_jax import results
  results.load('runs/bn')
"""

import functools
import math
import os

from bn_jax import cli, config_files


def main(argv):
  """Parses the flags, trains, and prints the last scores."""
  parser = cli.Parser(__doc__)
  parser.add_argument(
    '--config', required=True, metavar='FILE.py:STRATEGY[+STRATEGY]'
  )
  parser.add_argument('--workdir', required=True, help='the run, new or old')
  parser.add_processes()
  flags, overrides = parser.parse(argv)
  print(f'bn_jax train: {flags.config} -> {flags.workdir}', flush=True)
  path, _, names = flags.config.partition(':')
  config = config_files.load_config(path, names, overrides)
  if not names:
    default = '+'.join(config.strategies)
    print(f'strategy: {default}; another is --config={path}:NAME', flush=True)

  from bn_jax import devices, programs, progress, train

  programs.keep(__name__)
  devices.set_up(flags.coordinator, flags.num_processes, flags.process_id)
  ended = os.path.exists(os.path.join(flags.workdir, 'summary.json'))
  member = {
    'seed': config.seed,
    'hparams': {'optimizer.learning_rate': config.optimizer.learning_rate},
  }
  with progress.bar(config.num_train_steps) as advance:
    summary = train.fit(
      config,
      [member],
      flags.workdir,
      test=True,
      progress=functools.partial(advance, 'training'),
    )
  accuracy, loss = (
    math.nan if x is None else x
    for x in summary['test/accuracy'] + summary['test/loss']
  )
  (diverged,) = summary['diverged_at']
  scores = (
    f'diverged at step {diverged}, '
    if diverged >= 0
    else f'test accuracy {accuracy:.4f}, test loss {loss:.4f}, '
  )
  speed = summary['steps_per_second'] or math.nan  # of none if it ended anew
  print('the run had ended before; ' * ended, end='')
  print(f'{scores}{summary["parameters"]:,} parameters, {speed:,.0f} steps/s')


if __name__ == '__main__':
  cli.run(main)
