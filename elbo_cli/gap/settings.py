"""What a measurement of the gap is told, all of it before its first draw: the guarantee needs it settled."""

from dataclasses import dataclass, replace

import torch

CPU = torch.device("cpu")
DATA_TILE = 32  # data to a tile
DRAW_TILE = 64  # draws to a tile: together the unit of noise, so that the answer depends on the seed and nothing else
TEMPERATURES = 1000  # of annealing, where the user names none


def default_draws(method: str) -> int:
    """K where the user gives none: chains of annealing are long and few."""
    return 16 if method == "ais" else 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every method may read; in nats where it has a unit."""

    K: int = 500  # draws for each datum; chains, for annealing
    proposal: str = "auto"
    delta: float = 0.05  # probability that the certificate may fail
    tolerance: float = 0.05  # what the verdict `resolved` promises
    adaptive: bool = False  # find K for the tolerance, instead of taking K as it is
    seed: int = 0
    rows: int = DATA_TILE * DRAW_TILE  # decoder rows computed at once: memory, not the answer
    device: torch.device = CPU
    temperatures: int = TEMPERATURES  # of annealing

    def to(self, tolerance: float | None) -> "Settings":
        """The same, with an accuracy asked for instead of a K; unchanged where none is."""
        return self if tolerance is None else replace(self, tolerance=tolerance, adaptive=True)
