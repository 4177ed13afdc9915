"""Which way is the cheapest for a tolerance: each is tried on a few data, with draws that are thrown away."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError
from elbo_cli.gap.annealing.prospect import Prospect, floor, prospects
from elbo_cli.gap.annealing.to_tolerance import to_the_end
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.importance import Plan, latent_size, weigh_block
from elbo_cli.gap.jobs import Job
from elbo_cli.gap.proposals.recipes import PROPOSALS, Proposal, had
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.gap.showing import draws_to_show, edge
from elbo_cli.gap.tolerance import AIM, MOST, PILOT, ROUNDS, Need, to_tolerance
from elbo_cli.gap.verdict import ALARM
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import derive

TRIED = 2 * DATA_TILE  # data that each proposal is tried on


@dataclass(frozen=True, slots=True)
class Trial:
    """What a proposal would cost for each datum, in decoder evaluations; inf where its weights cannot be trusted."""

    name: str
    decodes: float
    tried: bool = True  # not where it could not have won, or is refused by this model


def trials(
    model: LatentVariableModel, split: Split, settings: Settings
) -> Generator[Tick, None, tuple[list[Trial], int]]:
    """Every proposal that can end in `resolved`, tried on the first data, the cheapest first; and what trying cost.

    One whose fit alone costs as much as another in all, or whose fit is made for fewer latents, is not tried.
    """
    names = [name for name, proposal in PROPOSALS.items() if proposal.defended]
    names = [name for name in names if name == had(name, model, next(split.blocks(1)))]
    found, D, once = list[Trial](), latent_size(model), 0
    for name in names:
        fixed, best = PROPOSALS[name].decodes(D) + PILOT, min((trial.decodes for trial in found), default=math.inf)
        wanted = fixed < best and PROPOSALS[name].largest >= D
        found.append(_tried(name, model, split, settings) if wanted else Trial(name, math.inf, tried=False))
        once += fixed if found[-1].tried else 0
        yield Tick(done=len(found), total=len(names), what="trying proposals")
    return sorted(found, key=lambda trial: trial.decodes), once * min(TRIED, len(split)) // len(split)


def _tried(name: str, model: LatentVariableModel, split: Split, settings: Settings) -> Trial:
    """A trial; none where the proposal is refused: nobody asked for it."""
    try:
        return _trial(name, model, split, settings)
    except UserError:
        return Trial(name, math.inf, tried=False)


def _trial(name: str, model: LatentVariableModel, split: Split, settings: Settings) -> Trial:
    proposal = PROPOSALS[name]
    seed = derive(settings.seed, "trial", name)
    plan = Plan(PILOT, proposal, seed, settings.rows, settings.device, elbo=False)
    blocks = torch.split(torch.arange(min(TRIED, len(split))), DATA_TILE)
    jobs = [Job(n, PILOT, index) for n, index in enumerate(blocks)]
    weighed = [weigh_block(model, split.batch(job.index), job, plan) for job in jobs]
    shown = max(draws_to_show(weighed, len(split)), _shown(weighed))
    K = max(_predicted(weighed, len(split), settings.tolerance), shown)
    return Trial(name, _cost(proposal, K, weighed, latent_size(model)))


def _predicted(weighed: Sequence[Weighed], N: int, tolerance: float) -> int:
    """The mean K that the tolerance needs, were all N data like the tried ones."""
    cv = Need.of(weighed).cv
    alike = cv.repeat(-(-N // len(cv)))[:N]
    return int(Need(torch.arange(N), alike).allocation(AIM * tolerance).double().mean())


def _shown(weighed: Sequence[Weighed]) -> float:
    """The least K with which all data but those that the verdict excuses can be shown to be reliable.

    K >= 10^(1 / (1 - k-hat)),    Vehtari et al. (2024): what heavy tails need, and their pilots' variance hides
    """
    k = edge(weighed)
    return 10 ** (1 / (1 - k)) if k < 0.95 else math.inf


def _cost(proposal: Proposal, K: float, weighed: Sequence[Weighed], D: int) -> float:
    khat = torch.cat([w.proposal.khat for w in weighed]).median().item()
    # a pilot cannot see a tail that it has not reached: its k-hat is the only hint of how far off K may be
    trusted = khat <= ALARM and K < MOST
    return proposal.decodes(D) + PILOT + K if trusted else math.inf


@dataclass(slots=True)
class Annealing:
    """Annealing as the rival of every proposal: its pilots are dear, so that they run only where it could win."""

    model: LatentVariableModel
    split: Split
    settings: Settings
    floor: float = math.inf  # what it costs at the least
    found: list[Prospect] | None = None  # the cheapest first; None: not asked yet
    spent: int = 0  # by the pilots, for each datum

    def __post_init__(self) -> None:
        self.floor = floor(self.model, self.split, self.settings)

    def beats(self, decodes: float) -> Generator[Tick, None, bool]:
        """Whether it would cost less than so many decoder evaluations for each datum; a tie at inf is no win."""
        if self.found is None and self.floor < decodes:
            asked = prospects(self.model, self.split, self.settings, AIM * self.settings.tolerance)
            self.found, self.spent = yield from asked
        return self.price < decodes

    @property
    def price(self) -> float:
        """Of the cheapest start, in decoder evaluations for each datum; inf where none was found."""
        return self.found[0].decodes if self.found else math.inf

    def told(self) -> str:
        """Its price in words."""
        if self.found is None:
            return f"annealing {self.floor:,.0f} at least"
        if self.price == math.inf:
            return "annealing shows nothing that more temperatures would mend"
        best = self.found[0].settings
        how = f"{best.K} chains of {best.temperatures:,} temperatures from '{best.proposal}'"
        return f"annealing about {self.price:,.0f} ({how})"


def by_the_cheapest(model: LatentVariableModel, split: Split, settings: Settings) -> Generator[Tick, None, GapFindings]:
    """Measure to `settings.tolerance` in the way that the pilots foretell to be the cheapest, and say why that one.

    The pilots' draws are thrown away, so the choice costs the certificate nothing. What it pays for is the rounds that
    may be looked at before one is kept: three of importance sampling, and three of annealing, which takes over where
    importance sampling falls short and annealing would cost less than its next round.

    Raises:
        RunError: a log-weight is NaN or +inf.
    """
    ranked, spent = yield from trials(model, split, settings)
    rival, rounds, found, turned = Annealing(model, split, settings), 2 * ROUNDS, None, ""
    if not (yield from rival.beats(ranked[0].decodes)):
        chosen = replace(settings, proposal=ranked[0].name)
        found = yield from to_tolerance(model, split, chosen, rival, rounds)
        spent += found.decodes or 0
    if found is None or (not found.verdict.resolved and (yield from rival.beats(math.inf))):
        turned = f"; '{found.proposal}' fell short, and so annealing" if found else ""
        assert rival.found
        found = yield from to_the_end(model, split, rival.found[0], rounds)
        spent += found.decodes or 0
    return replace(found, decodes=spent + rival.spent, why=why(ranked, rival, settings.tolerance) + turned)


def why(ranked: Sequence[Trial], rival: Annealing, tolerance: float) -> str:
    """The prices in a sentence."""
    trusted = [f"{trial.name} about {trial.decodes:,.0f}" for trial in ranked if trial.decodes < math.inf]
    doubted = [trial.name for trial in ranked if trial.tried and trial.decodes == math.inf]
    other = [f"not to be trusted with {PILOT} draws: {', '.join(doubted)}"] if doubted else []
    untried = [trial.name for trial in ranked if not trial.tried]
    other += [f"not tried, as dearer or not to be had: {', '.join(untried)}"] if untried else []
    costs = "; ".join([", ".join([*trusted, rival.told()]), *other])
    if not trusted and rival.price == math.inf:
        return f"no way's pilot could be trusted; {costs}"
    return f"the cheapest for {tolerance:g} nat, in decoder evaluations for each datum: {costs}"
