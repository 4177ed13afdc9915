"""What was typed after `elbo gap`, and what it comes to."""

from dataclasses import dataclass
from pathlib import Path

from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.wanted import Wanted
from elbo_cli.errors import UserError
from elbo_cli.gap.settings import TEMPERATURES, Settings, default_draws
from elbo_cli.parts import Shard

MERGING = ("--merge", "--out", "--strict", "--json")  # options that have a use where nothing is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Every word after `elbo gap`."""

    chosen: Chosen
    typed: tuple[str, ...]  # the options that were given, whatever their values
    method: str
    proposal: str
    samples: int | None
    tolerance: float | None
    delta: float
    tile: int
    temperatures: int | None
    sandwich: int | None
    split_gap: bool
    flow: bool
    shard: str | None
    merge: bool
    out: Path | None
    strict: bool

    @property
    def settings(self) -> Settings:
        """What the method is told."""
        return Settings(
            K=self.samples or default_draws(self.method),
            proposal=self.proposal,
            delta=self.delta,
            rows=self.tile,
            temperatures=self.temperatures or TEMPERATURES,
        )

    @property
    def wanted(self) -> Wanted:
        """What is wanted beside that.

        Raises:
            UserError: the shard is none.
        """
        families = ("full", *(["flow"] if self.flow else [])) if self.split_gap or self.flow else ()
        part = None if self.shard is None else Shard.of_text(self.shard)
        return Wanted(
            self.samples, self.tolerance, self.out, self.strict, self.sandwich, families, part, self.temperatures
        )

    @property
    def parts(self) -> list[Path]:
        """The files to put together: what stands in the place of a checkpoint and of its data's settings.

        Raises:
            UserError: something is asked of them that would have to be measured.
        """
        stray = [option for option in self.typed if option not in MERGING]
        if stray:
            raise UserError(f"--merge puts parts together as they were measured: leave {', '.join(stray)} out.")
        return [Path(file) for file in (self.chosen.checkpoint, *self.chosen.overrides)]
