"""How many draws it takes until k-hats can be relied on: they are noisy, and of few draws too many alarm."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch

from elbo_cli.bounds.pareto import FEWEST, tail_size, threshold
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.settings import DRAW_TILE
from elbo_cli.gap.verdict import EXCUSED

PULL = 10  # weights' worth of k = 1/2 in k-hat's prior (`bounds.pareto`)
LARGEST = 2**12  # draws that are thought of


def draws_to_show(weighed: Sequence[Weighed], N: int) -> int:
    r"""The least K, in whole tiles, at which no more of N k-hats should alarm than the verdict excuses; 0 for none.

    The tail index k of the typical datum is the median k-hat, without the pull of its prior and less the standard error
    of that median. With M = tail_size(K) the k-hats of data alike are about

        N( (M k + 5) / (M + 10),  M (1 + k)^2 / (M + 10)^2 )

    the variance that of a generalised Pareto fit (Smith 1987). A foretelling, not a promise: it settles K beforehand,
    and the draws that follow are judged by themselves. Two deviations of a share among N data are kept as a margin.
    """
    K = weighed[0].proposal.K
    khat, M = torch.cat([w.proposal.khat for w in weighed]), tail_size(K)
    typical = khat.median().item()
    if M < FEWEST or not math.isfinite(typical):
        return 0
    k = unpulled(typical, M)
    k -= 1.25 * (1 + k) / math.sqrt(M * len(khat))
    excused = EXCUSED - 2 * math.sqrt(EXCUSED * (1 - EXCUSED) / N)
    enough = (n for n in range(DRAW_TILE, LARGEST, DRAW_TILE) if alarms(k, n) <= excused)
    return next(enough, 0)


def edge(weighed: Sequence[Weighed]) -> float:
    """The tail index of the datum at the edge of what the verdict excuses; inf where it cannot be read.

    The spread of k-hats is that of the data and the noise of a fit: what the noise explains is taken out.
    """
    khat, M = torch.cat([w.proposal.khat for w in weighed]), tail_size(weighed[0].proposal.K)
    if not bool(khat.isfinite().all()):
        return math.inf
    k = unpulled(khat.median().item(), M)
    spread = khat.var(correction=0).item() - _deviation(k, M) ** 2
    return k + NormalDist().inv_cdf(1 - EXCUSED) * math.sqrt(max(spread, 0.0)) * (M + PULL) / M


def unpulled(khat: float, M: int) -> float:
    """A k-hat without the pull of its prior."""
    return ((M + PULL) * khat - PULL / 2) / M


def _deviation(k: float, M: int) -> float:
    return math.sqrt(M) * max(1 + k, 0.1) / (M + PULL)


def alarms(k: float, K: int) -> float:
    """The share of k-hats of K draws each that are expected above their threshold, where the tail index is k."""
    M = tail_size(K)
    return 1 - NormalDist((M * k + PULL / 2) / (M + PULL), _deviation(k, M)).cdf(threshold(K))
