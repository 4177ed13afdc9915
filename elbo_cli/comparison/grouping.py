"""Which runs are of one config: those that differ in nothing but their seed, and in how fast they were computed."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

REPEATS = ("seed", "threads")  # what makes a repeat of a config and no other config
NOWHERE = ("data.root", "data.download")  # where the data lie says nothing of what they are

Settings = Mapping[str, Any]  # dotted key -> value


def grouped(runs: Sequence[Settings]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The config of every run by its letter, in the order in which they come, and the keys that differ.

    Args:
        runs: the flat config of each run; empty for a model of a user's own, which is no other run's repeat.

    Returns:
        A letter for each run; and dotted key -> letter -> value, for the keys that are not the same everywhere.
    """
    kept = [_kept(settings, number) for number, settings in enumerate(runs)]
    distinct = [settings for number, settings in enumerate(kept) if settings not in kept[:number]]
    letters = [letter(number) for number in range(len(distinct))]
    keys = list(dict.fromkeys(key for settings in distinct for key in settings))
    differs = {key: dict(zip(letters, (s.get(key) for s in distinct), strict=True)) for key in keys}
    differs = {key: values for key, values in differs.items() if len({repr(v) for v in values.values()}) > 1}
    differs.pop(OWN, None)
    return [letters[distinct.index(settings)] for settings in kept], differs


OWN = ""  # the key under which models of a user's own are told apart


def _kept(settings: Settings, number: int) -> dict[str, Any]:
    if not settings:
        return {OWN: number}
    return {key: value for key, value in settings.items() if key not in REPEATS + NOWHERE}


def letter(number: int) -> str:
    """A, B, ..., Z, AA, AB, ... for 0, 1, ..."""
    first, last = divmod(number, len(ascii_uppercase))
    return (letter(first - 1) if first else "") + ascii_uppercase[last]
