"""Which proposal is the cheapest for a tolerance: each is tried on a few data, with draws that are thrown away."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.importance import Plan, latent_size, weigh_block
from elbo_cli.gap.proposals.recipes import PROPOSALS, Proposal
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.gap.tolerance import AIM, MOST, PILOT, Need
from elbo_cli.gap.verdict import ALARM
from elbo_cli.runtime import derive

TRIED = 2 * DATA_TILE  # data that each proposal is tried on


@dataclass(frozen=True, slots=True)
class Trial:
    """What a proposal would cost for each datum, in decoder evaluations; inf where its weights cannot be trusted."""

    name: str
    K: int
    decodes: float


def trials(model: LatentVariableModel, split: Split, settings: Settings) -> list[Trial]:
    """Every proposal that can end in `resolved`, tried on the first data of the split, the cheapest first."""
    names = [name for name, proposal in PROPOSALS.items() if proposal.defended]
    return sorted((_trial(name, model, split, settings) for name in names), key=lambda trial: trial.decodes)


def _trial(name: str, model: LatentVariableModel, split: Split, settings: Settings) -> Trial:
    proposal = PROPOSALS[name]
    plan = Plan(PILOT, proposal, derive(settings.seed, "trial", name), settings.rows, settings.device)
    blocks = torch.split(torch.arange(min(TRIED, len(split))), DATA_TILE)
    weighed = [weigh_block(model, split.batch(index), index, n, plan) for n, index in enumerate(blocks)]
    K = _predicted(weighed, len(split), settings.tolerance)
    return Trial(name, K, _cost(proposal, K, weighed, latent_size(model)))


def _predicted(weighed: Sequence[Weighed], N: int, tolerance: float) -> int:
    """The mean K that the tolerance needs, were all N data like the tried ones."""
    cv = torch.cat([(w.proposal.K / w.proposal.ess - 1).clamp(min=0).sqrt() for w in weighed])
    alike = cv.repeat(-(-N // len(cv)))[:N]
    return int(Need(torch.arange(N), alike).allocation(AIM * tolerance).double().mean())


def _cost(proposal: Proposal, K: int, weighed: Sequence[Weighed], D: int) -> float:
    khat = torch.cat([w.proposal.khat for w in weighed]).median().item()
    # a pilot cannot see a tail that it has not reached: its k-hat is the only hint of how far off K may be
    trusted = khat <= ALARM and K < MOST
    return 2 * proposal.decodes(D) + PILOT + K if trusted else float("inf")


def cheapest(model: LatentVariableModel, split: Split, settings: Settings) -> tuple[Settings, str]:
    """The settings with the cheapest proposal for their tolerance, and why it is that one."""
    ranked = trials(model, split, settings)
    best = ranked[0]
    if best.decodes == float("inf"):
        return settings, "no proposal's pilot could be trusted; --method ais may do better"
    costs = ", ".join(f"{t.name} about {t.decodes:,.0f}" for t in ranked)
    why = f"the cheapest for {settings.tolerance:g} nat, in decoder evaluations for each datum: {costs}"
    return replace(settings, proposal=best.name), why
