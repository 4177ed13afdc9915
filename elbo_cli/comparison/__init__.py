"""Runs side by side: measured on the same data with the same noise, grouped by config, paired by datum."""
