"""What a comparison says. Nats per datum; higher is better for `elbo` and `log_px`, lower for `gap`."""

from dataclasses import dataclass
from typing import Any

from elbo_cli.columns import POSITIVE, UP, column


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run, measured on the data of them all; a row of --csv. Empty where it was not measured."""

    config: str = column("config", "s", about="runs of one letter differ in their seed alone", default="", unit="")
    run: str = column("run", "s", about="folder or checkpoint", default="", unit="")
    seed: int | None = column("seed", "d", about="of the training", unit="")
    elbo: float = column("ELBO", about="mean over the data that all runs share", default=float("nan"), sign=UP)
    se_elbo: float = column("± data", about="its standard error across data, unpaired", default=float("nan"))
    reconstruction: float = column("E log p(x|z)", about="reconstruction", default=float("nan"), sign=UP)
    kl: float = column("KL(q‖p)", about="from the prior", default=float("nan"), sign=POSITIVE)
    active_units: int | None = column("active", "d", about="latents whose mean moves with x", unit="latents")
    log_px: float | None = column("log p(x)", about="lower bound on log p(x), with --gap", sign=UP)
    gap: float | None = column("gap", about="log_px - ELBO of the same measurement, with --gap", sign=POSITIVE)
    verdict: str | None = column("verdict", "s", about="on log_px, with --gap", unit="")
    behind: float = column("behind best", about="ELBO of the best run less this one's", default=float("nan"))
    se_behind: float = column("± paired", about="its error across data, paired by datum", default=float("nan"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigResult:
    """The runs that differ in nothing but their seed: the mean over seeds, and its error across seeds."""

    config: str
    settings: dict[str, Any]  # its values of the keys that differ between the configs
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    means: dict[str, float]  # by quantity, over seeds and data
    se_seeds: dict[str, float | None]  # none for one seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far `ahead` lies above `behind` in a quantity, over the same data.

    `se_data` is the error across data with these trainings, paired by datum; `se_seeds` that across seeds with these
    data; `se` holds both. From low to high is the interval that the verdict rests on.
    """

    ahead: str
    behind: str
    quantity: str
    mean: float
    se_data: float
    se_seeds: float | None  # none where a config has but one seed: then nothing is known of others
    se: float
    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether the sign of the difference can be told."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side, the best first."""

    data: str
    split: str
    examples: int
    samples: int  # draws of q for each ELBO
    seed: int  # of the noise, the same for every run
    differs: dict[str, dict[str, Any]]  # dotted key -> config -> value
    runs: tuple[RunResult, ...]
    configs: tuple[ConfigResult, ...]
    differences: tuple[Difference, ...]  # of the best config and each of the others
    verdict: str
