"""The files that a path of the config names: one, those of a folder or a pattern, or a list; and in which order."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

from elbo_cli.data.files import existing, opening
from elbo_cli.data.images import SUFFIXES
from elbo_cli.errors import UserError

NPY = ".npy"
Paths = str | Path | Sequence[str | Path]  # as a user gives them


def files(paths: Paths, option: str) -> list[Path]:
    """The files that are meant, in the order in which their data follow each other; a folder of images is one of them.

    A list keeps its order. A pattern (`*`, `?`, `[...]`, `**`) and a folder of .npy files are in the natural order of
    their names, numbers by their value: part-2 before part-10. A folder that holds any image is one of images.

    Raises:
        UserError: there is nothing there; a file is named twice; or a file of a numbered series is missing.
    """
    if isinstance(paths, str | Path):
        return _expanded(paths, option)
    found = [path for each in paths for path in _expanded(each, option)]
    _refuse_twins(found, option)
    return found


def natural(path: Path) -> tuple[list[str | int], str]:
    """The key of natural order: text and numbers in turn; where two are equal (1, 01), the text."""
    return [int(piece) if i % 2 else piece for i, piece in enumerate(_pieces(path))], str(path)


def _expanded(path: str | Path, option: str) -> list[Path]:
    if _is_pattern(path, option):
        found = sorted(_matching(path, option), key=natural)
    elif (place := existing(path, option)).is_dir() and (inside := _arrays_in(place, option)):
        found = sorted(inside, key=natural)
    else:
        return [place]
    _refuse_gaps(found, f"{option}={path}")
    return found


def _is_pattern(path: str | Path, option: str) -> bool:
    """Whether it has a * or the like in it, and is no file of that very name."""
    with opening(path, option):
        return glob.has_magic(str(path)) and not Path(path).expanduser().exists()


def _matching(pattern: str | Path, option: str) -> list[Path]:
    with opening(pattern, option):
        found = [Path(name) for name in glob.glob(str(Path(pattern).expanduser()), recursive=True)]  # noqa: PTH207
    kept = [path for path in found if not path.is_dir()]
    if not kept:
        raise UserError(f"{option}={pattern} matches no file. Type {option}=FILE, a folder, or another pattern.")
    return kept


def _arrays_in(folder: Path, option: str) -> list[Path]:
    """The .npy files of a folder; none, where it has images too: then it is a folder of images."""
    with opening(folder, option):
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if any(entry.suffix.lower() in SUFFIXES for entry in entries):
        return []
    return [entry for entry in entries if entry.suffix.lower() == NPY and entry.is_file()]


def _refuse_twins(paths: list[Path], option: str) -> None:
    seen: dict[tuple[int, int], Path] = {}
    for path in paths:
        with opening(path, option):
            status = path.stat()
        first = seen.setdefault((status.st_dev, status.st_ino), path)
        if first is not path:
            raise UserError(f"{option} names {path} twice{_also(first, path)}. Name each file once.")


def _also(first: Path, second: Path) -> str:
    return "" if str(first) == str(second) else f", the first time as {first}"


def _pieces(path: Path) -> list[str]:
    return re.split(r"(\d+)", str(path))


@dataclass(frozen=True, slots=True)
class Series:
    """Names that differ in one number alone."""

    before: str
    numbers: list[int]  # ascending
    after: str
    digits: int  # of every number, where all have as many; else 0

    def name(self, number: int) -> str:
        """The name of the file with that number."""
        return f"{self.before}{str(number).zfill(self.digits)}{self.after}"

    def missing(self) -> list[int]:
        """Numbers that the series skips: none, where more would be missing than there are."""
        low, high = self.numbers[0], self.numbers[-1]
        step = gcd(*(b - a for a, b in zip(self.numbers, self.numbers[1:], strict=False)))
        if (high - low) // step + 1 >= 2 * len(self.numbers):  # no series, but years, say, or times
            return []
        return sorted(set(range(low, high + 1, step)) - set(self.numbers))

    def promised(self) -> int:
        """How many files there should be, by names such as part-00003-of-00010; 0, where they do not say."""
        of = re.match(r"[-_]of[-_](\d+)\D*$", self.after)
        return int(of[1]) if of else 0


def _series(paths: list[Path]) -> Series | None:
    names = [_pieces(path) for path in paths]
    columns = list(zip(*names, strict=True)) if len({len(name) for name in names}) == 1 else []
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1 or varying[0] % 2 == 0 or len(set(map(int, columns[varying[0]]))) < len(paths):
        return None
    at, widths = varying[0], {len(text) for text in columns[varying[0]]}
    numbers = sorted(int(text) for text in columns[at])
    return Series("".join(names[0][:at]), numbers, "".join(names[0][at + 1 :]), widths.pop() if len(widths) == 1 else 0)


def _refuse_gaps(paths: list[Path], given: str) -> None:
    """Insist that a numbered series is whole: a file that was not copied is data that nobody misses."""
    series = _series(paths)
    if series is None:
        return
    missing = [series.name(number) for number in series.missing()]
    if missing:
        lost = f"{missing[0]} is missing" + f", and {len(missing) - 1} more" * (len(missing) > 1)
    elif series.promised() not in (0, len(paths)):
        lost = f"their names promise {series.promised()}"
    else:
        return
    raise UserError(
        f"{given}: {len(paths)} files from {series.name(series.numbers[0])} to {series.name(series.numbers[-1])}, "
        f"but {lost}. Where that is meant, list the files: path: [FILE, FILE, ...]."
    )
