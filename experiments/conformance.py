"""Batch norm of every library that is installed, against float64.

python -m experiments.conformance                        the table
python -m experiments.conformance --out=docs/conformance.md
python -m experiments.conformance --case=mask --peers=bn_jax,flax_linen

Peers beyond Flax are the extra `peers`: pip install -e '.[peers]'. bn_jax alone
takes a minute and a half on two cores, each peer somewhat less or more.
"""

import argparse
import pathlib
import sys


def main(arguments=None):
  """Prints the scoreboard; exits with 1 if bn_jax fails a case."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--case', default='', help='part of a case or group name')
  parser.add_argument('--peers', default='', help='names with commas between')
  parser.add_argument('--out', type=pathlib.Path, help='a Markdown file')
  options = parser.parse_args(arguments)

  import jax  # --help does without

  jax.config.update('jax_num_cpu_devices', 8)
  from experiments.conformance_suite import adapters, cases, scoreboard

  names = options.peers.split(',') if options.peers else adapters.NAMES
  if unknown := set(names) - set(adapters.NAMES):
    allowed = ', '.join(adapters.NAMES)
    parser.error(f'--peers: {", ".join(unknown)}; allowed are {allowed}')
  wanted = options.case.lower()
  every = [c for c in cases.every() if wanted in f'{c.group}, {c.name}'.lower()]
  found, missing = scoreboard.peers(names)
  for name in missing:
    print(f'not installed: {name}')

  def tell(case, row):
    cells = ''.join(f'{s.cell():>16}' for s in row.values())
    print(f'{case.group + ", " + case.name:<74.74}{cells}', flush=True)

  print(f'{"":<74}' + ''.join(f'{p.name:>16}' for p in found), flush=True)
  scores = scoreboard.run(every, found, tell)
  for peer in found:
    print(f'{peer.name}: {scoreboard.totals(scores, peer)}')
  if options.out:
    command = f'python -m experiments.conformance --out={options.out}'
    options.out.write_text(scoreboard.markdown(every, found, scores, command))
  mine = [s for (_, name), s in scores.items() if name == 'bn_jax']
  return int(any(s.error is not None and not s.passed for s in mine))


if __name__ == '__main__':
  sys.exit(main())
