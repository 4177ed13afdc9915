"""The config: a frozen tree with a default, a type, a range and a description for every key. No torch here.

A wrong config is refused whole, with a line for every mistake in it (`ConfigError`); nothing is coerced or ignored.
"""

from elbo_cli.config.errors import ConfigError
from elbo_cli.config.loading import load, loads
from elbo_cli.config.model_sections import Model, Network
from elbo_cli.config.sections import Config, Objective, Optim
from elbo_cli.config.text import as_dict, commented, dump, flat, written

__all__ = [
    "Config",
    "ConfigError",
    "Model",
    "Network",
    "Objective",
    "Optim",
    "as_dict",
    "commented",
    "dump",
    "flat",
    "load",
    "loads",
    "written",
]
