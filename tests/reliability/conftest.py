"""The run that the commands' own tests measure."""

from tests.cli.conftest import trained

__all__ = ["trained"]
