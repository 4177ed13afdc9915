"""A run to measure, as the tests of the commands have it."""

from tests.cli.conftest import trained as trained
