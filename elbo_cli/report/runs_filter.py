"""`elbo runs --where`: conditions on a column of the list, or on a key of the runs' configs."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elbo_cli.errors import UserError, nearest

CONDITION = re.compile(r"\s*([\w.]+)\s*(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}  # as in a config


@dataclass(frozen=True, slots=True)
class Condition:
    """A key, how it is compared, and with what."""

    key: str
    sign: str
    value: Any

    def holds(self, found: Any) -> bool:
        """Whether a run's value fulfils it; a value that is not there is before and after nothing."""
        if self.sign in ORDERS:
            return _is_number(found) and ORDERS[self.sign](found, self.value)
        same = found == self.value or (found is not None and str(found) == str(self.value))
        return same is (self.sign == "=")


def conditions(words: Sequence[str]) -> list[Condition]:
    """Conditions as they were typed: `data.name=digits`, `valid_elbo>-100`, `seed!=0`.

    Raises:
        UserError: one is none, or orders what is no number.
    """
    return [_condition(word) for word in words]


def _condition(word: str) -> Condition:
    match = CONDITION.fullmatch(word)
    if match is None:
        raise UserError(
            f"--where '{word}' is no condition: type KEY=VALUE, as model.latent_dim=20, or valid_elbo>-100."
        )
    key, sign, text = match.groups()
    value = _value(text.strip())
    if sign in ORDERS and not _is_number(value):
        raise UserError(f"--where '{word}': {sign} compares numbers, and '{text.strip()}' is none.")
    return Condition(key, sign, value)


def _value(text: str) -> Any:
    """A number, a truth value, null, or the text itself: as in a config."""
    try:
        return float(text)  # YAML's own does not know 1e-3
    except ValueError:
        pass
    return WORDS.get(text.lower(), text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def refuse_strangers(wanted: Sequence[Condition], known: Mapping[str, Any]) -> None:
    """Insist that every key is one that some run has.

    Raises:
        UserError: no run has it.
    """
    for condition in wanted:
        if condition.key not in known:
            raise UserError(
                f"--where {condition.key}: no run here has such a key.{nearest(condition.key, known)} "
                "Give a column of elbo runs, or a key of a config, as model.latent_dim."
            )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's tree as dotted key -> value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
