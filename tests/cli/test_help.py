"""Help is instant: nothing that trains or draws is imported for it."""

import subprocess
import sys

import pytest

from elbo_cli.cli import app
from tests.cli.command import ROOT

SLOW = ("torch", "numpy", "pandas", "matplotlib", "yaml", "safetensors", "rich", "elbo_cli.config", "elbo_cli.commands")
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
ASK = f"""
import sys
from elbo_cli.cli import main
try:
    main()
finally:
    print(*(name for name in {SLOW!r} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_slow(command: str) -> None:
    words = [*command.split(), "--help"]
    asked = subprocess.run(
        [sys.executable, "-c", ASK, *words], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    assert asked.stderr.strip() == ""
    assert "Usage: elbo" in asked.stdout
    assert "\x1b" not in asked.stdout


def test_the_commands_of_the_main_job_are_there() -> None:
    assert {"train", "evaluate", "gap", "bound-gap", "check", "init"} <= {*COMMANDS}


@pytest.mark.parametrize("words", ["--version", "", "init", "check configs/digits.yaml"])
def test_what_only_reads_needs_no_torch(words: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", ASK, *words.split()], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert not {"torch", "numpy", "pandas"} & set(asked.stderr.split())
    assert "elbo" in asked.stdout + asked.stderr
