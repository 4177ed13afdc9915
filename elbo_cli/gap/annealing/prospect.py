"""What annealing would cost for a tolerance, foretold by short chains on a few data that are thrown away."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.annealing.ais import ais
from elbo_cli.gap.annealing.annealer import Course, NoGradient
from elbo_cli.gap.annealing.starts import STARTS
from elbo_cli.gap.importance import ELBO_DRAWS, latent_size
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.gap.verdict import FEWEST, FREE
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import derive

TRIED = DATA_TILE  # data that chains are tried on
SHORT, LONG = 25, 100  # temperatures of the two pilots
LENGTHS = tuple(50 * 2**j for j in range(9))  # temperatures that are thought of, to 12,800
NUMBERS = tuple(FEWEST * 2**j for j in range(5))  # chains, to 256
SLOWEST = 0.3  # decay of the spread below which longer chains are not shown to agree better: they sit in modes
WIDEST = 4.0  # CV^2 of the long pilot above which sixteen chains do not know their own spread


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the chains of a datum disagree, and how fast that falls as they grow longer."""

    long: float  # log(1 + CV^2) of the weights of chains of LONG temperatures, CV^2 the mean over the data
    decay: float  # log(1 + CV^2) falls as T to the power of minus this: 1 where every step keeps its equilibrium

    @classmethod
    def between(cls, short: GapFindings, long: GapFindings) -> "Spread":
        """From the pilots of SHORT and LONG temperatures."""
        few, many = (math.log1p(_squared_cv(found)) for found in (short, long))
        if many < 1e-3:  # chains that agree as they are
            return cls(many, 1.0)
        return cls(many, min(math.log(few / many) / math.log(LONG / SHORT), 1.0) if few > 0 else 0.0)

    @property
    def trusted(self) -> bool:
        """Whether the pilots say anything of longer chains."""
        return self.decay >= SLOWEST and math.expm1(self.long) <= WIDEST

    def left(self, T: int, C: int, N: int) -> float:
        """Bias and two Monte Carlo errors of C chains of T temperatures for N data: CV^2 / 2 C + 2 CV / sqrt(C N)."""
        cv2 = math.expm1(self.long * (LONG / T) ** self.decay)
        return cv2 / (2 * C) + 2 * math.sqrt(cv2 / (C * N))


def _squared_cv(found: GapFindings) -> float:
    """CV^2 = C s.e.^2, the mean over the data; the shares of a start's components add nothing to it."""
    errors = torch.tensor([row.se_log_px for row in found.rows], dtype=torch.float64)
    return found.samples * errors.square().mean().item()


@dataclass(frozen=True, slots=True)
class Prospect:
    """What annealing from one start takes for a tolerance."""

    settings: Settings  # with start, temperatures and chains
    decodes: float  # decoder evaluations for each datum; inf where the pilots promise nothing


def floor(model: LatentVariableModel, split: Split, settings: Settings) -> float:
    """What annealing costs at the least, for each datum: the shortest course there is, and its pilots."""
    names = names_of(settings.proposal)
    return min(_cost(model, _along(settings, LENGTHS[0], FEWEST, name)) for name in names) + sum(
        _pilots(model, split, settings, name) for name in names
    )


def names_of(proposal: str) -> tuple[str, ...]:
    """The starts that are tried: `auto` is a choice among those that can end in `resolved`."""
    return tuple(name for name, start in STARTS.items() if start.free > 0) if proposal == "auto" else (proposal,)


def prospects(
    model: LatentVariableModel, split: Split, settings: Settings, aim: float
) -> Generator[Tick, None, tuple[list[Prospect], int]]:
    """What each start would take for bias and noise within `aim` nats, the cheapest first; and what asking cost.

    Chains of 25 and of 100 temperatures on the first 32 data are thrown away. How much the longer ones agree better
    than the shorter foretells the rest: the variance of log w falls as 1/T where chains keep up with the temperatures
    (Neal 2001), more slowly where they lag, and not at all where they sit in modes. The cost is for each datum of all.
    """
    found, spent = [], 0
    for name in names_of(settings.proposal):
        try:
            spread = yield from _spread(model, split, settings, name)
        except NoGradient:
            return [], spent
        spent += _pilots(model, split, settings, name)
        found.append(_prospect(model, len(split), replace(settings, proposal=name), spread, aim))
    return sorted(found, key=lambda prospect: prospect.decodes), spent


def _spread(model: LatentVariableModel, split: Split, settings: Settings, name: str) -> Generator[Tick, None, Spread]:
    both = []
    for T in (SHORT, LONG):
        seed = derive(settings.seed, "trial of annealing", name, T)
        tried = _along(replace(settings, seed=seed), T, FEWEST, name)
        both.append((yield from ais(model, split.first(TRIED), tried)))
    return Spread.between(*both)


def _prospect(model: LatentVariableModel, N: int, settings: Settings, spread: Spread, aim: float) -> Prospect:
    ways = _ways(model, N, settings, spread, aim) if spread.trusted else ()
    return min(ways, key=lambda way: way.decodes, default=Prospect(replace(settings, K=FEWEST), math.inf))


def _ways(model: LatentVariableModel, N: int, settings: Settings, spread: Spread, aim: float) -> Iterator[Prospect]:
    free = STARTS[settings.proposal].free
    for T in LENGTHS:
        for C in NUMBERS:
            if spread.left(T, C, N) <= aim and (not free or free * C * N >= FREE):
                way = _along(settings, T, C, settings.proposal)
                yield Prospect(way, _cost(model, way))


def _along(settings: Settings, T: int, C: int, start: str) -> Settings:
    return replace(settings, temperatures=T, K=C, proposal=start)


def _cost(model: LatentVariableModel, settings: Settings) -> int:
    return Course.of(settings).decodes(latent_size(model)) + ELBO_DRAWS


def _pilots(model: LatentVariableModel, split: Split, settings: Settings, name: str) -> int:
    """Decoder evaluations of both pilots, shared out over all data."""
    both = sum(_cost(model, _along(settings, T, FEWEST, name)) for T in (SHORT, LONG))
    return both * min(TRIED, len(split)) // len(split)
