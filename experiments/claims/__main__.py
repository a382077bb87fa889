"""Tests the textbook's account of batch norm, a claim at a time.

  python -m experiments.claims --workdir=runs/claims
  python -m experiments.claims --workdir=runs/claims --only=linear_chain
  python -m experiments.claims --list

Each claim is measured and ends as supported, not supported or inconclusive, by
a criterion that was written down before. Results are in WORKDIR/claims.json
and claims.html. All of them took 24 minutes on two cores; the same
command goes on with what was interrupted.
"""

from bn_jax import cli
from experiments import claims


def main(argv):
  """Parses the flags, measures what is not yet measured, writes the page."""
  parser = cli.Parser(__doc__)
  parser.add_argument('--workdir', help='where results are kept, new or old')
  parser.add_argument('--only', help='a,b: these claims; default, all')
  parser.add_argument(
    '--list', action='store_true', help='the claims with their sentences'
  )
  parser.add_argument(
    '--quick', action='store_true', help='a smoke run that gives no verdict'
  )
  parser.add_argument('--doc', metavar='FILE.md', help='writes this page too')
  flags, rest = parser.parse(argv)
  if rest:
    raise cli.UserError(f'flags: {rest[0]!r}; claims have no config')
  if flags.list:
    for name in claims.names():
      print(f'{name}\n  {claims.describe(name)[0]}')
    return
  if not flags.workdir:
    raise cli.UserError('--workdir: missing; give the folder of the results')
  only = [n for n in (flags.only or '').split(',') if n] or claims.names()
  for name in only:
    claims.describe(name)
  print(f'bn_jax claims: {len(only)} -> {flags.workdir}', flush=True)

  from bn_jax import devices
  from experiments.claims import _run

  devices.set_up()
  _run.run(only, flags.workdir, quick=flags.quick, doc=flags.doc, argv=argv)


if __name__ == '__main__':
  cli.run(main)
