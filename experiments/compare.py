"""Compares strategies: the same network, data, seeds and tuning budget.

  make compare
  python -m experiments.compare --config=configs/mnist1d_mlp.py \\
      --workdir=runs/compare
  python -m experiments.compare --config=configs/mnist1d_mlp.py \\
      --workdir=runs/relu --strategies=none,batch_norm,lsuv \\
      --config.model.activation=relu --seeds=5
  python -m experiments.compare --reproduce=runs/compare

Each strategy is tuned with the same number of trials on validation data, then
trained with fresh seeds and scored on test data. Ends with a table and the
path of report.html. The same command goes on with what was interrupted.
--reproduce runs a finished study again and says whether the numbers agree.
"""

import shlex
import sys

from bn_jax import cli, config_files


def main(argv):
  """Parses the flags, runs the study and prints its table."""
  parser = cli.Parser(__doc__)
  again = any(word.startswith('--reproduce') for word in argv)
  parser.add_argument('--config', required=not again, metavar='FILE.py')
  parser.add_argument('--workdir', required=not again, help='new or old')
  parser.add_argument('--reproduce', metavar='DIR', help='a finished study')
  parser.add_argument('--strategies', help='a,b+c: default, those of the file')
  parser.add_argument('--trials', type=int, help='tuning trials per strategy')
  parser.add_argument('--tuning-seeds', type=int, help='seeds that tune')
  parser.add_argument('--seeds', type=int, help='seeds that are reported')
  parser.add_processes()
  flags, overrides = parser.parse(argv)
  make_config, settings = _load(again, flags, overrides)
  source = flags.reproduce or flags.config
  print(f'bn_jax compare: {source} -> {flags.workdir}', flush=True)

  from bn_jax import devices, hosts, programs, progress, records, report, study

  programs.keep(__name__)
  devices.set_up(flags.coordinator, flags.num_processes, flags.process_id)
  comparison = study.Study(make_config, settings, flags.workdir)
  comparison.claim(shlex.join(['python', '-m', 'experiments.compare', *argv]))
  with progress.bar(comparison.total_steps()) as advance:
    hparams = comparison.run(advance)
  with progress.bar(comparison.total_turns(), 'turns') as advance:
    comparison.time(hparams, advance)
  if hosts.first():
    print('writing the report', flush=True)
    with records.writing(flags.workdir):
      page = report.write(flags.workdir)
    report.print_table(flags.workdir)
    print(f'report: {page}')
    if flags.reproduce:
      from bn_jax import agreement

      verdict = agreement.compare(flags.reproduce, flags.workdir)
      print(verdict.sentence)
      sys.exit(0 if verdict.agree else 1)


def _load(again, flags, overrides):
  if not again:
    return config_files.load_study(flags, overrides)
  from bn_jax import rerun

  return rerun.load(flags, overrides)


if __name__ == '__main__':
  cli.run(main)
