"""What is done to elbo on purpose, with counts: `python -m benchmarks.reliability [SUBJECT ...] [--count N]`."""
