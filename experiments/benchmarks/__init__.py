"""The benchmarks of `python -m experiments.benchmark`, one file each."""
