"""What a command must not import: a second here is a second before every answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import TINY

COMPILER = ("torch._dynamo", "torch._inductor", "sympy")  # a second and 75 MB, at the first use of torch.optim
NEVER = (*COMPILER, "pandas", "pyarrow", "matplotlib", "PIL", "zuko", "scipy", "pooch")

RUN = """
import json, sys
from elbo_cli.cli import main
sys.argv = ["elbo", *{words!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def imported(folder: Path, *words: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(words=words)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_training_imports_no_compiler_and_no_tables(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    found = imported(tmp_path, "train", "--config", "tiny.yaml", "--out", "run", "train.epochs=1")
    assert "torch" in found, "blind"
    assert not found & set(NEVER)
    for command in ("evaluate", "gap"):
        assert not imported(tmp_path, command, "run", "--limit", "4") & set(NEVER)


@pytest.mark.parametrize("words", [("check", "tiny.yaml"), ("init",), ("--help",)])
def test_what_computes_nothing_imports_no_torch(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert not imported(tmp_path, *words) & {"torch", "numpy", *NEVER}
