"""Blocks of data as jobs that several processes share out; and what was weighed, as a table and back."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from elbo_cli.bounds.curve import curve_sizes
from elbo_cli.bounds.weights import WeightSummary
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.settings import DATA_TILE
from elbo_cli.ranks import joined, ranks

BOTH = ("gap", "se_gap")  # of the two halves together; where they have draws of their own it follows from the halves
OWN = ("elbo", "se_elbo")
PROPOSED = ("log_px", "se_log_px", "ess", "max_weight", "var_log_w", "khat", "jackknife")


@dataclass(frozen=True, slots=True)
class Job:
    """A block of data to be weighed; its number, with the seed, decides its noise."""

    number: int
    K: int
    index: Tensor  # [n], which data of the split


def blocks(N: int) -> tuple[Tensor, ...]:
    """The indices of N data in blocks of DATA_TILE; the last may be short."""
    return torch.split(torch.arange(N), DATA_TILE)


def columns(K: int) -> list[str]:
    """What is kept of each datum: all that findings, certificate, curve and verdict are made of."""
    ks = curve_sizes(K)
    return [*BOTH, *OWN, *PROPOSED, *(f"curve_{k}" for k in ks), *(f"curve_var_{k}" for k in ks)]


def pack(weighed: Weighed) -> Tensor:
    """What was weighed, float64 [n, columns]."""
    own, proposal = weighed.own, weighed.proposal
    rows = [weighed.gap, weighed.se_gap, *(getattr(own, name) for name in OWN)]
    rows += [getattr(proposal, name) for name in PROPOSED]
    return torch.cat([torch.stack(rows), proposal.curve, proposal.curve_var]).T.contiguous()


def unpack(index: Tensor, table: Tensor, K: int, alike: bool) -> Weighed:
    """What `pack` packed, bit for bit in everything that findings look at.

    Args:
        index: which data of the split, [n].
        table: float64 [n, columns].
        K: draws of the proposal.
        alike: whether ELBO and log p(x) were of the same draws.
    """
    rows = dict(zip(columns(K), table.T.contiguous(), strict=True))  # a sum over strides is another to the last bit
    both, own, proposed = ({name: rows[name] for name in part} for part in (BOTH, OWN, PROPOSED))
    curve, curve_var = torch.stack(list(rows.values())[-2 * len(curve_sizes(K)) :]).chunk(2)
    if alike:
        proposal = _summary(K, both | own | proposed, curve, curve_var)
        return Weighed(index, proposal, proposal)
    return Weighed(index, _summary(K, proposed, curve, curve_var), _summary(K, own, curve, curve_var))


def gathered(weighed: Sequence[Weighed], alike: bool) -> Weighed:
    """Blocks of data of one K as one: a tensor of 32 numbers takes three times their room."""
    table, index = torch.cat([pack(w) for w in weighed]), torch.cat([w.index for w in weighed])
    return unpack(index, table, weighed[0].proposal.K, alike)


def _summary(K: int, known: dict[str, Tensor], curve: Tensor, curve_var: Tensor) -> WeightSummary:
    """A summary of which some columns are known; the others are nan, and nobody asks for them."""
    unknown = torch.full((curve.shape[1],), torch.nan, dtype=torch.float64)
    names = [f.name for f in fields(WeightSummary) if f.name not in ("K", "ks", "curve", "curve_var")]
    return WeightSummary(
        K=K, ks=curve_sizes(K), curve=curve, curve_var=curve_var, **{name: known.get(name, unknown) for name in names}
    )


def exchanged(
    own: Sequence[Weighed], jobs: Sequence[Job], alike: bool, mine: Sequence[int] | None = None
) -> list[Weighed]:
    """What all ranks weighed, in the order of the jobs, from what this one did of them.

    Args:
        own: what this rank weighed.
        jobs: of all ranks.
        alike: whether ELBO and log p(x) were of the same draws.
        mine: which of the jobs this rank did; `ranks().strided` where None.
    """
    if ranks().size == 1:
        return list(own)
    mine = range(len(jobs))[ranks().strided] if mine is None else mine
    shapes = [(len(job.index), len(columns(job.K))) for job in jobs]
    tables = joined(dict(zip(mine, map(pack, own), strict=True)), shapes)
    return [unpack(job.index, table, job.K, alike) for job, table in zip(jobs, tables, strict=True)]
