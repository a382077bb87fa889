"""The report of a study: a table, a verdict and `report.html`.

page = report.write(workdir)
report.print_table(workdir)
"""

from bn_jax.report.differences import comparisons
from bn_jax.report.formats import print_table, terminal_tables
from bn_jax.report.page import write
from bn_jax.report.study import read
from bn_jax.report.tables import table
from bn_jax.report.verdicts import verdict

__all__ = [
  'comparisons',
  'print_table',
  'read',
  'table',
  'terminal_tables',
  'verdict',
  'write',
]
