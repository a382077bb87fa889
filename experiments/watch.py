"""Shows a study or a run in the terminal, while it runs or afterwards.

  python -m experiments.watch runs/compare
  python -m experiments.watch runs/compare --once

Which strategies, how far they are, the best so far, and the time left: read
from the files of DIR alone, so it may be started, stopped and started again at
any time, and on another machine that sees them. Ends when the study ends.
"""

from bn_jax import cli, stopping


def main(argv):
  """Parses the flags and follows the study."""
  parser = cli.Parser(__doc__)
  parser.add_argument('workdir', metavar='DIR', help='of a study or a run')
  parser.add_argument(
    '--once', action='store_true', help='a single picture of this moment'
  )
  flags, overrides = parser.parse(argv)
  if overrides:
    raise cli.UserError(f'flags: {overrides[0]!r}; there is no config to set')

  try:
    from bn_jax import live

    live.follow(flags.workdir, once=flags.once)
  except (KeyboardInterrupt, stopping.Stopped):
    print('what was watched goes on')


if __name__ == '__main__':
  cli.run(main)
