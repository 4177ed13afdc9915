"""Annealed importance sampling of a data set: starts, chains, and the method `ais`."""
