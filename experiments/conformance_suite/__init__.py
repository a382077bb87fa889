"""One table of cases, run against every implementation of batch norm."""
