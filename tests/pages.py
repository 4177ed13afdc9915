"""A page of docs/ as a test reads it: fenced blocks with the HTML comment before each, and the prose between them.

```sh        commands, typed in order in a folder of the page's own
```text      what the commands before it print; `...` stands for lines left out
```python    a file, if its first line is `# name.py`; else a program that is run
```yaml      a file, if its first line is `# name.yaml`
<!-- not run: REASON -->      before a block that is only read
<!-- needs: PACKAGE -->       before commands that are only read where a package is missing, with what they print
<!-- exit: N -->              before commands that end with that code
<!-- table: RUN -->           before the table that a terminal shows of a run
<!-- file: PATH -->           before a block that is a file of the repository, or the beginning of one
<!-- figure: A = B - C -->    a figure of the prose that follows from two printed ones
"""

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"(?:<!-- (?P<note>[^\n]*?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)```", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: `sh`, `text`, `python` or `yaml`, its note and its text."""

    kind: str
    note: str
    text: str

    @property
    def not_run(self) -> str:
        """The reason why the block is only read, or nothing."""
        return self.note.removeprefix("not run:").strip() if self.note.startswith("not run:") else ""

    @property
    def file(self) -> str:
        """The file that the block is, by its first line; or nothing."""
        found = re.match(r"# ([\w/]+\.(py|yaml))\n", self.text)
        return found[1] if found else ""

    def commands(self) -> list[str]:
        """The command lines, with what a backslash continues on one line; comments are left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in (re.sub(r"\s+# .*", "", each).strip() for each in lines) if line and line[0] != "#"]


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = BLOCK.finditer(path.read_text("utf-8"))
    return [Block(each["kind"], each["note"] or "", each["text"]) for each in found]


def prose(path: Path) -> str:
    """A page without its blocks, comments, links and code."""
    text = BLOCK.sub("", path.read_text("utf-8"))
    return re.sub(r"<!--.*?-->|\]\([^)]*\)|`[^`\n]*`", "", text, flags=re.DOTALL)


def figures(text: str) -> set[float]:
    """The numbers with a decimal point in a text."""
    return {float(each.replace(",", "")) for each in NUMBER.findall(text) if "." in each}


def same(printed: str, told: str) -> bool:
    """Whether a printed line is the one that a page tells: the same words, and numbers that are near.

    A sum in another order changes the last bits of a gradient, and forty epochs make a tenth of a nat of them: 0.15 for
    a number with a decimal point, 3 or a tenth for one without.
    """
    words = [re.sub(r"\s+", " ", NUMBER.sub("#", line)).strip() for line in (printed, told)]
    if words[0] != words[1]:
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(told), strict=True)
    return all(near(*pair) for pair in pairs)


def near(printed: str, told: str) -> bool:
    a, b = (float(each.replace(",", "")) for each in (printed, told))
    return abs(a - b) <= (0.15 if "." in told else max(3, abs(b) / 10))


def missing(printed: str, told: str) -> list[str]:
    """The lines that a page tells and that were not printed, in the page's order."""
    lines = iter(printed.splitlines())
    wanted = [line for line in told.splitlines() if line.strip() not in ("", "...")]
    return [line for line in wanted if not any(same(each, line) for each in lines)]
