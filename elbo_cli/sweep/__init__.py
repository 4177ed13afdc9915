"""Sweeps: Optuna hands out the trials, each an ordinary run folder; this room knows Optuna and submitit."""
