"""Importance sampling in tiles: a fixed block of data by a fixed block of draws, each with noise of its own."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import Draws, LatentVariableModel, weigh
from elbo_cli.bounds.weights import WeightStream, WeightSummary
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError, choose
from elbo_cli.gap.findings import Weighed, findings
from elbo_cli.gap.proposals import PROPOSALS, Mixture, Proposal, posterior
from elbo_cli.gap.settings import CPU, DATA_TILE, DRAW_TILE, Settings
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import noise

ELBO_DRAWS = 128  # of q for the ELBO, where log p(x) has another proposal: the spread over data outweighs the rest


@dataclass(frozen=True, slots=True)
class Plan:
    """What is settled before the first draw, because the guarantee needs it settled."""

    K: int
    proposal: Proposal
    seed: int
    rows: int = DATA_TILE * DRAW_TILE  # decoder rows computed at once: memory, not the answer
    device: torch.device = CPU


def weigh_blocks(model: LatentVariableModel, blocks: Iterator[tuple[int, Tensor]], plan: Plan) -> Iterator[Weighed]:
    """The weights of block after block of data; each block's noise depends on the seed and the block's number alone.

    Args:
        model: the three distributions.
        blocks: pairs of a block's number in its split and its data, [<= DATA_TILE, ...].
        plan: K, proposal, seed.

    Raises:
        RunError: a log-weight is NaN or +inf; the sentence names the datum.
    """
    for number, x in blocks:
        with noise(plan.seed, "gap", number, "proposal", device=plan.device):
            qz_x = model.posterior(x)
            mixture = Mixture(plan.proposal(model, x, qz_x))
        proposal = _stream(model, x, mixture, plan.K, plan, number, "draws")
        if plan.proposal.recipe is posterior:
            yield Weighed(proposal, proposal)
            continue
        own = Mixture(posterior(model, x, qz_x))
        yield Weighed(proposal, _stream(model, x, own, min(plan.K, ELBO_DRAWS), plan, number, "elbo"))


@torch.no_grad()
def _stream(
    model: LatentVariableModel, x: Tensor, mixture: Mixture, K: int, plan: Plan, number: int, name: str
) -> WeightSummary:
    stream = WeightStream(K, len(x))
    for first in range(0, K, DRAW_TILE):
        last = min(first + DRAW_TILE, K)
        with noise(plan.seed, "gap", number, name, first, device=plan.device):
            z = mixture.sample(last - first, len(x))
        try:
            stream.add(log_weights(model, x, z, mixture, plan.rows))
        except ArithmeticError as error:
            raise RunError(
                f"In block {number} of {DATA_TILE} data: {error} The model gives no finite number here."
            ) from error
    return stream.summary()


def log_weights(
    model: LatentVariableModel, x: Tensor, z: Tensor, proposal: Mixture | Distribution, rows: int
) -> Tensor:
    """Log w = log p(x, z) - log q(z), [K, N], decoding at most about `rows` rows at a time."""
    pieces = torch.split(z, max(1, rows // len(x)))
    return torch.cat([_weighed(model, x, piece, proposal).log_w for piece in pieces])


def _weighed(model: LatentVariableModel, x: Tensor, z: Tensor, proposal: Mixture | Distribution) -> Draws:
    return weigh(model, x, z, proposal.log_prob(z))


def importance(model: LatentVariableModel, split: Split, settings: Settings) -> Generator[Tick, None, GapFindings]:
    """L_K from K draws of the proposal for every datum; yields progress, returns the findings.

    Raises:
        RunError: a log-weight is NaN or +inf.
        UserError: there is no such proposal.
    """
    proposal = choose(PROPOSALS, settings.proposal, "proposal")
    plan = Plan(settings.K, proposal, settings.seed, settings.rows, settings.device)
    weighed: list[Weighed] = []
    done = 0
    for block in weigh_blocks(model, enumerate(split.blocks(DATA_TILE)), plan):
        weighed.append(block)
        done += len(block.own.elbo)
        yield Tick(done=done, total=len(split), what="importance sampling")
    found = findings(weighed, defended=proposal.defended, delta=settings.delta, tolerance=settings.tolerance)
    return replace(found, decodes=decodes(plan, latent_size(model)))


def decodes(plan: Plan, D: int) -> int:
    """Decoder evaluations for each datum: the proposal's own, K draws, and q's draws for the ELBO."""
    own = 0 if plan.proposal.recipe is posterior else min(plan.K, ELBO_DRAWS)
    return plan.proposal.decodes(D) + plan.K + own


def latent_size(model: LatentVariableModel) -> int:
    """D, the number of latents."""
    return model.prior().event_shape.numel()
