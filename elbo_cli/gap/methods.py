"""The ways to measure log p(x) and the gap, by name."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.errors import choose
from elbo_cli.gap.annealing.ais import ais, anneal_blocks
from elbo_cli.gap.annealing.ais import conclude as conclude_ais
from elbo_cli.gap.annealing.starts import STARTS
from elbo_cli.gap.annealing.to_tolerance import annealed_to_tolerance
from elbo_cli.gap.exact.method import applies, exact
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.importance import alike, conclude, importance, weigh_blocks
from elbo_cli.gap.jobs import Job, exchanged
from elbo_cli.gap.pilot import by_the_cheapest
from elbo_cli.gap.proposals.recipes import PROPOSALS, had
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.tolerance import to_tolerance
from elbo_cli.ranks import ranks
from elbo_cli.records import GapFindings, Tick

Work = Generator[Tick, None, GapFindings]
Weighing = Generator[Tick, None, list[Weighed]]
Method = Callable[[LatentVariableModel, Split, Settings], Work]


def sampling(model: LatentVariableModel, split: Split, settings: Settings) -> Work:
    """Importance sampling with the K that was asked for, or with what the tolerance needs."""
    settings = replace(settings, proposal=had(settings.proposal, model, next(split.blocks(1))))
    return (yield from (to_tolerance if settings.adaptive else importance)(model, split, settings))


def automatic(model: LatentVariableModel, split: Split, settings: Settings) -> Work:
    """The cheapest way that gives an answer: exact where it applies, else what the pilots foretell, else sampling."""
    if applies(model, next(split.blocks(2))) is not None:
        found = yield from exact(model, split, settings)
        return replace(found, why="exact, because this model allows it; --method importance samples all the same")
    cheapest = settings.adaptive and settings.proposal == "auto"
    return (yield from (by_the_cheapest if cheapest else sampling)(model, split, settings))


def annealing(model: LatentVariableModel, split: Split, settings: Settings) -> Work:
    """Annealing, with the temperatures and chains that were asked for, or with those that the tolerance needs."""
    return (yield from (annealed_to_tolerance if settings.adaptive else ais)(model, split, settings))


METHODS: dict[str, Method] = {
    "auto": automatic,
    "importance": sampling,
    "ais": annealing,
    "exact": exact,
}


@dataclass(frozen=True, slots=True)
class Halves:
    """A method in two halves, so that many can do the first and one the second: weigh blocks of data, and conclude."""

    weigh: Callable[[LatentVariableModel, Split, Settings, Sequence[Job]], Weighing]
    conclude: Callable[[Sequence[Weighed], int, Settings], GapFindings]
    alike: Callable[[Settings], bool]  # whether ELBO and log p(x) are of the same draws


HALVES: dict[str, Halves] = {
    "importance": Halves(weigh_blocks, conclude, alike),
    "ais": Halves(anneal_blocks, conclude_ais, lambda settings: False),
}


def weigh(method: str, model: LatentVariableModel, split: Split, settings: Settings, jobs: Sequence[Job]) -> Weighing:
    """The first half of a method for some blocks of data, shared out among the ranks; yields this one's progress."""
    halves = HALVES[method]
    own = yield from halves.weigh(model, split, settings, jobs[ranks().strided])
    return exchanged(own, jobs, halves.alike(settings))


def settled(method: str, samples: int | None, proposal: str) -> str:
    """The method that a user means: who settles the draws or where they come from means sampling, not `auto`."""
    return "importance" if method == "auto" and (samples is not None or proposal != "auto") else method


def refuse_unknown(method: str, proposal: str) -> None:
    """Insist that there are such a method and such a proposal, before any data are opened.

    Raises:
        UserError: there are not.
    """
    choose(METHODS, method, "method")
    choose(STARTS if method == "ais" else PROPOSALS, proposal, "proposal")


def measure_gap(model: LatentVariableModel, split: Split, method: str, settings: Settings) -> Work:
    """Measure with the method called `method`; yields progress, returns the findings.

    Raises:
        UserError: there is no such method, or it does not apply to this model.
        RunError: a log-weight is NaN or +inf.
    """
    return choose(METHODS, method, "method")(model, split, settings)
