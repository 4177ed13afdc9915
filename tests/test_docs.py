"""Every page of docs/ does what it says: its commands run in order and print what stands below them."""

import os
import re
import shlex
import subprocess
import sys
import warnings
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from elbo_cli.report.live import epoch_table
from elbo_cli.runs import RunFolder
from tests.cli.command import elbo
from tests.pages import Block, blocks, figures, missing, prose, same

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md"))
RUN = [path for path in PAGES if any(block.kind in ("sh", "python", "text") for block in blocks(path))]
QUOTING = ["tutorial.md"]  # pages whose every figure is one that a command printed
names = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@pytest.mark.parametrize("page", RUN, ids=lambda path: path.name)
def test_the_commands_run_in_order_and_print_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for example in (DOCS / "examples").glob("*.py"):
        (tmp_path / example.name).write_text(example.read_text("utf-8"), "utf-8")
    printed: str | None = ""
    for block in blocks(page):
        if block.kind in ("sh", "python") and (block.not_run or missing_package(block)):
            printed = None  # nor is what it would print
        elif not block.not_run and not (block.kind == "text" and printed is None):
            printed = done(block, printed or "")


def missing_package(block: Block) -> bool:
    return block.note.startswith("needs: ") and find_spec(block.note.removeprefix("needs: ")) is None


def done(block: Block, printed: str) -> str:
    """Do what a block says; returns what the last block of commands printed."""
    if block.kind == "sh":
        code = int(block.note.removeprefix("exit: ")) if block.note.startswith("exit: ") else 0
        return "\n".join(typed(command, code) for command in block.commands())
    if block.kind == "text":
        run = block.note.removeprefix("table: ")
        lost = missing(table(Path(run)) if run != block.note else printed, block.text)
        assert not lost, f"the page says\n  {lost[0]}\nand this was printed:\n{printed}"
    elif block.note.startswith("file: "):
        whole = (ROOT / block.note.removeprefix("file: ")).read_text("utf-8")
        assert block.text.strip() in whole, f"{block.note} has changed: copy it into the page again"
    elif block.file:
        Path(block.file).write_text(block.text, "utf-8")
    elif block.kind == "python":
        return executed(block.text)
    return printed


def typed(command: str, code: int) -> str:
    """What a command prints, on both streams, insisting on its exit code; elbo runs in this process, for speed."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    if words[0] == "elbo":
        answer = elbo(*words[1:])
        out, ended = answer.out + answer.err, answer.code
    else:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=environment)
        out, ended = done.stdout + done.stderr, done.returncode
    assert ended == code, f"{command}: code {ended}: {out}"
    return out


def executed(program: str) -> str:
    """What a program of the page prints; a warning is an error."""
    out = StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(program, "docs", "exec"), {"print": lambda *words: print(*words, file=out), "__name__": "docs"})
    return out.getvalue()


def table(run: Path) -> str:
    """The table of a run's epochs as a terminal of 80 columns shows it."""
    out = StringIO()
    Console(file=out, width=80).print(epoch_table(RunFolder(run).records(), 80))
    return out.getvalue()


def test_the_three_commands_of_the_readme_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    block = next(each for each in blocks(ROOT / "README.md") if "--out runs/first" in each.text)
    assert [command.split()[1] for command in block.commands()] == ["train", "evaluate", "gap"]
    assert "RESOLVED" in done(block, "").splitlines()[-1]


@pytest.mark.parametrize("name", QUOTING)
def test_every_figure_of_the_prose_is_one_that_was_printed(name: str) -> None:
    text = (DOCS / name).read_text("utf-8")
    printed = figures("\n".join(block.text for block in blocks(DOCS / name) if block.kind == "text"))
    for total, first, second in re.findall(r"<!-- figure: (\S+) = (\S+) - (\S+) -->", text):
        assert {float(first), float(second)} <= printed, (first, second)
        assert abs(float(total) - (float(first) - float(second))) < 0.0051, total
        printed.add(float(total))
    for told in figures(prose(DOCS / name)):
        digits = len(str(told).partition(".")[2])
        assert any(round(abs(each), digits) == abs(told) for each in printed), f"{name} says {told}"


@names
def test_a_page_has_one_heading_and_its_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text("utf-8")))
    pages = {page.name for page in PAGES} - {"README.md"}
    assert linked == pages, f"name them in docs/README.md: {pages - linked}"


@names
def test_a_block_that_is_not_run_says_why_and_no_command_hides_in_a_block_without_a_kind(page: Path) -> None:
    for block in blocks(page):
        assert not block.note.startswith("not run") or len(block.not_run) > 8, block
        assert block.kind or not re.search(r"^(elbo|python|pip|make) ", block.text, re.MULTILINE), block


def test_a_line_is_the_same_with_other_last_digits_and_not_with_another_figure_or_word() -> None:
    told = " log p(x), at least   -20.108   0.329   0.0128"
    assert same("log p(x), at least -20.12 0.33 0.01", told)
    assert not same("log p(x), at least -20.30 0.33 0.01", told)
    assert not same("log p(x), at most -20.11 0.33 0.01", told)
    assert not same("log p(x), at least -20.108 0.329", told)
    assert missing("a 1\nb 2\n", "b 2\n...\na 1\n") == ["a 1"]
