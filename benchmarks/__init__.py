"""Measurements that anyone can repeat: `python -m benchmarks NAME ...`, a JSON line for each."""
