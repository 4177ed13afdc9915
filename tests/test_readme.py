"""What the README shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_block(containing: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if containing in block)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_foreign_model_is_measured_and_takes_less_than_fifteen_lines_of_methods(tmp_path: Path) -> None:
    text = python_block("class Mine")
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    words = ["gap", "mine:Mine", "--data", "digits", "data.binarize=threshold", "--samples", "100", "--limit", "40"]
    done = run(tmp_path, "-m", "elbo_cli", *words)
    assert done.returncode == 0, done.stderr
    assert "log p(x)" in done.stdout
    methods = text[text.index("def prior") :]
    assert len([line for line in methods.splitlines() if line.strip()]) < 15


def test_the_python_example_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "example.py").write_text(python_block("from elbo_cli.api"), encoding="utf-8")
    done = run(tmp_path, "-W", "error::UserWarning", "example.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 -")
    assert "Certificate(" in done.stdout


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)h][^)]*)\)", README))
def test_every_link_leads_to_a_file(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`elbo (\w+)", README))))
def test_every_command_that_the_readme_names_exists(command: str) -> None:
    from elbo_cli.cli import app

    names = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    assert command in names
