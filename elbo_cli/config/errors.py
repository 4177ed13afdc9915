"""What is wrong with a config: one line for each mistake, with its place, and all of them at once."""

from collections.abc import Iterable
from dataclasses import dataclass

from elbo_cli.errors import UserError
from elbo_cli.errors import printable as printable  # what places and keys are shown through

Keys = tuple[str | int, ...]

SHOWN = 40  # lines; more than these help nobody


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a file and its line, or an override's own text (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Complaint:
    """One mistake: where, at which key, and a sentence that says what was found and what is allowed."""

    place: Place
    keys: Keys
    sentence: str

    def __str__(self) -> str:
        return ": ".join(filter(None, [printable(str(self.place)), dotted(self.keys), self.sentence]))


class ConfigError(UserError):
    """A config with mistakes in it; its text has a line for each."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints = sorted(complaints, key=lambda each: (each.place.line == 0, each.place.line))
        lines = [str(each) for each in self.complaints[:SHOWN]]
        hidden = len(self.complaints) - len(lines)
        super().__init__("\n".join([*lines, f"and {hidden} more."] if hidden else lines))


def dotted(keys: Keys) -> str:
    """`('model', 'encoder', 'hidden', 1)` as `model.encoder.hidden[1]`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{printable(key) or repr(key)}" for key in keys)
    return text.removeprefix(".")
