"""A run to measure: the digits, two epochs of a small network."""

import sys
from pathlib import Path

import pytest

from tests.cli.command import TINY, elbo


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(TINY)
    answer = elbo("train", "--config", folder / "tiny.yaml", "--out", folder / "run")
    assert answer.code == 0, answer.err
    return folder / "run"


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """User modules that tests import leave nothing beside them."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
