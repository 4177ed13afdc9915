"""What a user wants of `elbo gap` beside the method's settings."""

from dataclasses import dataclass, replace
from pathlib import Path

from elbo_cli.errors import UserError
from elbo_cli.parts import Shard
from elbo_cli.ranks import Ranks
from elbo_cli.report.rows import refuse_path


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user wants of `elbo gap` beside the method's settings, as typed."""

    samples: int | None
    tolerance: float | None
    out: Path | None
    strict: bool
    sandwich: int | None = None  # simulated data to bound from both sides
    families: tuple[str, ...] = ()  # of q, to split the gap by; none: do not split it
    shard: Shard | None = None  # the part that is wanted; none: all
    temperatures: int | None = None

    @property
    def other_questions(self) -> str:
        """The option that asks another question than the gap's, if there is one."""
        return "--split-gap" if self.families else "--sandwich" if self.sandwich is not None else ""

    def refuse_nonsense(self) -> None:
        """Insist that the wishes go together, before the long work begins.

        Raises:
            UserError: they do not.
        """
        if self.tolerance is not None and self.samples is not None:
            raise UserError("--tolerance finds the number of draws itself: leave --samples out, or --tolerance.")
        if self.tolerance is not None and self.temperatures is not None:
            raise UserError("--tolerance finds the number of temperatures itself: leave out one of the two.")
        if self.tolerance is not None and not self.tolerance > 0:
            raise UserError(f"--tolerance {self.tolerance:g} is no accuracy: give a number of nats above 0, as 0.05.")
        if self.out is not None:
            refuse_path(self.out)
        if self.shard is not None:
            self._refuse_part(self.shard)

    def refuse_unused(self, method: str) -> None:
        """Insist that the method, as typed, has a use for what it is told.

        Raises:
            UserError: it has not.
        """
        if self.temperatures is not None and method != "ais":
            raise UserError("--temperatures are annealing's: add --method ais, or leave --temperatures out.")
        if self.samples is not None and method == "exact" and not self.other_questions:
            raise UserError("--method exact takes no draws: leave --samples out.")

    def _refuse_part(self, shard: Shard) -> None:
        """Insist that what is asked of a part can be had of it."""
        whole = "--tolerance" if self.tolerance is not None else "--strict" if self.strict else self.other_questions
        if whole:
            raise UserError(f"{whole} needs all data at once, and --shard {shard} has a part. Leave one of them out.")
        if self.out is None:
            raise UserError(f"--shard {shard} needs a file for its part: --out part-{shard.number}.parquet")

    def refuse_company(self, mine: Ranks) -> None:
        """Insist that what is asked can be shared among the processes that torchrun started.

        Raises:
            UserError: it cannot.
        """
        if mine.size > 1 and self.other_questions:
            raise UserError(f"{self.other_questions} is not shared among processes: run it without torchrun.")

    def without_files(self) -> "Wanted":
        """The same for a process that writes nothing, because another one does."""
        return replace(self, out=None)
