"""The commands: `python -m experiments.train`, `compare`, `benchmark`, ..."""
