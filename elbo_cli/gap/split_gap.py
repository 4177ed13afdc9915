"""`--split-gap`: who is to blame for the gap, the encoder network (amortisation) or the family of q (approximation)."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.bounds.weights import WeightStream, WeightSummary
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError, choose
from elbo_cli.estimates import estimate
from elbo_cli.gap.findings import Weighed, findings
from elbo_cli.gap.importance import Plan, naming, summarise, weigh_tiles
from elbo_cli.gap.jobs import Job
from elbo_cli.gap.proposals.laplace import LARGEST_LATENT
from elbo_cli.gap.proposals.mixture import Component, Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS, defended
from elbo_cli.gap.proposals.refine import FAMILIES, Refined, inflated, refine_all
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.models.flows import need_zuko
from elbo_cli.models.normals import FullNormal
from elbo_cli.models.vae import VAE
from elbo_cli.records import Estimate, FamilyGap, SplitFindings, SplitRow, Tick
from elbo_cli.runtime import derive, noise

DRAWS = 256  # for the ELBO of each q: fresh, and common to all of them, so that differences keep little of their noise
HEARD = 10.0  # standard errors that an approximation gap must be above 0 before shares of it are told


@dataclass(frozen=True, slots=True)
class Means:
    """A quantity of each datum with its own Monte Carlo standard error, [n] each, float64, in nats."""

    value: Tensor
    se: Tensor

    @classmethod
    def over(cls, draws: Tensor) -> "Means":
        """Of independent draws [K, n]."""
        return cls(draws.mean(0), draws.std(0) / len(draws) ** 0.5)

    @classmethod
    def join(cls, blocks: Sequence["Means"]) -> "Means":
        """Several blocks of data as one."""
        return cls(torch.cat([block.value for block in blocks]), torch.cat([block.se for block in blocks]))

    def below(self, other: "Means") -> "Means":
        """How far it lies below another quantity, measured with other draws."""
        return Means(other.value - self.value, (self.se.square() + other.se.square()).sqrt())

    def estimate(self) -> Estimate:
        """The mean over data with both errors."""
        return estimate(self.value, self.se)


@dataclass(frozen=True, slots=True)
class Block:
    """What was measured on a block of data."""

    own: str  # the family that q is of
    weighed: Weighed  # log p(x), and the amortised q
    elbo: dict[str, Means]  # of the refined q of each family
    over_q: Means  # ELBO[q*] - ELBO[q], on common draws
    over_own: dict[str, Means]  # of each other family, ELBO - ELBO[q*], on common draws
    decodes: int  # of the searches, for each datum


def split_gap(
    model: LatentVariableModel, split: Split, settings: Settings, families: Sequence[str] = ("full",)
) -> Generator[Tick, None, SplitFindings]:
    r"""Split the gap of every datum in two; yields progress, returns the findings.

        log p(x) - ELBO[q] = ( log p(x) - ELBO[q*] ) + ( ELBO[q*] - ELBO[q] ) = approximation + amortisation

    q* is the best q of q's own family for that datum alone (`refine`). The ELBOs of q, of q* and of the best q of other
    families are means over fresh draws that all have in common, so that their differences carry little noise; log p(x)
    has draws of its own, from the refined full normal with shares of q and of the prior. As q* comes of a search,
    E[ELBO[q*]] is not above the best of the family: the amortisation gap is at least what is printed. The approximation
    gap may err both ways: too large by what the search left, too small by what L_K left.

    Args:
        model: the three distributions: q normal, diagonal or full, or elbo's own; and a decoder with a gradient.
        split: the data.
        settings: K of log p(x), delta, tolerance, seed.
        families: other families to try, of `refine.FAMILIES`; `full` is always tried, for log p(x) needs it.

    Raises:
        UserError: there is no such family, its package is not installed, q is not normal or there
            is no gradient.
        RunError: a log-weight is NaN or +inf.
    """
    refuse_unsplit(model, split.batch(torch.arange(min(2, len(split)))), families)
    blocks: list[Block] = []
    for number, index in enumerate(torch.split(torch.arange(len(split)), DATA_TILE)):
        blocks.append(_measure(model, split.batch(index), index, number, families, settings))
        yield Tick(done=int(index[-1]) + 1, total=len(split), what="splitting the gap")
    return _found(blocks, settings)


def family_of(model: LatentVariableModel, qz_x: Distribution) -> str:
    """The family that q is of, as `refine.FAMILIES` names it.

    Raises:
        UserError: it is of none whose best member is searched for here.
    """
    if isinstance(qz_x, Independent) and isinstance(qz_x.base_dist, Normal):
        return "diagonal"
    if isinstance(qz_x, MultivariateNormal):
        return "full"
    if isinstance(model, VAE):
        return "own"
    raise UserError(
        f"The gap of this q cannot be split: q(z|x) is a {type(qz_x).__name__}, and --split-gap looks for the best "
        "normal with diagonal or full covariance. Leave --split-gap out, or give q as an Independent(Normal) or a "
        "MultivariateNormal."
    )


def refuse_unsplit(model: LatentVariableModel, x: Tensor, families: Sequence[str]) -> None:
    """Insist on what `split_gap` needs, before the long work begins.

    Raises:
        UserError: there is no such family, its package is not installed, latents are too many, or q is of none that
            is searched for.
    """
    for family in families:
        choose(FAMILIES, family, "family of q")
    D = model.prior().event_shape.numel()
    if D > LARGEST_LATENT:
        raise UserError(
            f"--split-gap searches full covariances, of at most {LARGEST_LATENT} latents; this model has {D}. "
            "Leave --split-gap out."
        )
    if "flow" in families:
        need_zuko("A flow for each datum")
    with torch.no_grad():
        family_of(model, model.posterior(x))


def around(refined: Refined, qz_x: Distribution, pz: Distribution) -> Mixture:
    """A proposal for log p(x): mostly the refined full normal, a little wider, with shares of q and of the prior."""
    assert isinstance(refined.distribution, FullNormal)
    return Mixture(defended(inflated(refined.distribution), qz_x, pz))


def _measure(
    model: LatentVariableModel, x: Tensor, index: Tensor, number: int, families: Sequence[str], settings: Settings
) -> Block:
    plan = Plan(settings.K, PROPOSALS["auto"], settings.seed, settings.rows, settings.device)
    job = Job(number, settings.K, index)
    with noise(settings.seed, "split", number, device=settings.device):
        qz_x = model.posterior(x)
    own, *others = dict.fromkeys((family_of(model, qz_x), "full", *families))
    refined = refine_all(model, x, qz_x, (own, *others), seed=derive(settings.seed, "split", number))

    def log_w(q: Distribution) -> Tensor:  # [DRAWS, n]; "elbo" seeds the same noise for each q
        tiles = weigh_tiles(model, x, Mixture((Component(q, 1.0),)), DRAWS, plan, job, "elbo")
        return torch.cat(list(tiles)).cpu()

    with naming(index):
        amortised, best = log_w(qz_x), {family: log_w(refined[family].distribution) for family in (own, *others)}
        summaries = [_summary(draws) for draws in (amortised, *best.values())]
        log_px = summarise(model, x, around(refined["full"], qz_x, model.prior()), settings.K, plan, job, "draws")
    shared = refined["full"].decodes
    return Block(
        own=own,
        weighed=Weighed(index, log_px, summaries[0]),
        elbo={family: Means.over(draws) for family, draws in best.items()},
        over_q=Means.over(best[own] - amortised),
        over_own={family: Means.over(best[family] - best[own]) for family in others},
        decodes=shared + sum(r.decodes - shared for r in refined.values()),
    )


def _summary(log_w: Tensor) -> WeightSummary:
    """The summary of weights [K, n] that are all there; refuses a NaN."""
    stream = WeightStream(*log_w.shape)
    stream.add(log_w)
    return stream.summary()


def _found(blocks: Sequence[Block], settings: Settings) -> SplitFindings:
    first = blocks[0]
    log_px = Means.join([Means(b.weighed.proposal.log_px, b.weighed.proposal.se_log_px) for b in blocks])
    elbo = {family: Means.join([b.elbo[family] for b in blocks]) for family in first.elbo}
    amortisation = Means.join([b.over_q for b in blocks])
    approximation = elbo[first.own].below(log_px)
    whole = findings([b.weighed for b in blocks], defended=True, delta=settings.delta, tolerance=settings.tolerance)
    total = first.decodes + settings.K + DRAWS * (1 + len(elbo))
    family_limit, encoder = approximation.estimate(), amortisation.estimate()
    return SplitFindings(
        family=first.own,
        gap=replace(whole, proposal="refined", decodes=total, approximation_gap=family_limit, amortisation_gap=encoder),
        refined=elbo[first.own].estimate(),
        approximation_gap=family_limit,
        amortisation_gap=encoder,
        richer=tuple(
            _family(family, elbo[family], Means.join([b.over_own[family] for b in blocks]), log_px, approximation)
            for family in first.over_own
        ),
        examples=len(log_px.value),
        draws=DRAWS,
        decodes=total,
        search_decodes=first.decodes,
        seed=settings.seed,
        rows=_rows(blocks, elbo, log_px, amortisation, approximation),
    )


def _family(family: str, elbo: Means, closes: Means, log_px: Means, approximation: Means) -> FamilyGap:
    gap, won = approximation.estimate(), closes.estimate()
    heard = gap.mean > HEARD * (gap.se_mc or 0.0)
    return FamilyGap(
        family=family,
        elbo=elbo.estimate(),
        closes=won,
        leaves=elbo.below(log_px).estimate(),
        share=won.mean / gap.mean if heard else None,
    )


def _rows(
    blocks: Sequence[Block], elbo: dict[str, Means], log_px: Means, amortisation: Means, approximation: Means
) -> tuple[SplitRow, ...]:
    table = {
        "index": torch.cat([b.weighed.index for b in blocks]),
        "elbo": torch.cat([b.weighed.own.elbo for b in blocks]),
        "elbo_refined": elbo[blocks[0].own].value,
        "log_px": log_px.value,
        "amortisation_gap": amortisation.value,
        "approximation_gap": approximation.value,
        "se_amortisation_gap": amortisation.se,
        "se_approximation_gap": approximation.se,
    } | {f"elbo_{family}": means.value for family, means in elbo.items() if family != "own"}
    cells = zip(*(column.tolist() for column in table.values()), strict=True)
    return tuple(SplitRow(**dict(zip(table, row, strict=True))) for row in cells)
