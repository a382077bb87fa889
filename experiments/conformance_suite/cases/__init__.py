"""The cases, one group a file; each has a function `cases()`."""

from experiments.conformance_suite.cases import (
  calculus,
  exchange,
  masks,
  numbers,
  outputs,
  running,
  shards,
)

GROUPS = (outputs, numbers, masks, shards, running, calculus, exchange)


def every():
  """All cases, in the order of the report."""
  return [case for group in GROUPS for case in group.cases()]
