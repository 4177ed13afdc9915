"""Where the chains of annealing begin, and how many of them where."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.gap.proposals.laplace import applies
from elbo_cli.gap.proposals.mixture import Component, Mixture
from elbo_cli.gap.proposals.recipes import Recipe, posterior
from elbo_cli.gap.proposals.variational import decodes as cost_of_variational
from elbo_cli.gap.proposals.variational import variational

PERIOD = 8  # chains that are shared out among components in fixed numbers: shares are eighths


class Beginning(Mixture):
    """A mixture of which every eight chains take each component's share exactly, so that shares add no variance.

    The chains' mean weight stays unbiased: sum_c s_c E_c[w] is E[w] under the mixture. Every four chains in a row have
    as many of the first component as they can, so that the K-curve shows the chains and not the shares.
    """

    def strata(self, C: int) -> Tensor:
        """Which component each of C chains begins at, [C].

        All 0 where C is not 16, 24, 32, ...: then chance decides, because of each there must be two to see its spread.
        """
        pattern = [0] * PERIOD
        if C % PERIOD == 0 and C > PERIOD:
            for i in range(1, len(self.components)):
                pattern[11 - 4 * i] = i  # the last of eight, then the last of four
        return torch.tensor(pattern).repeat(-(-C // PERIOD))[:C]

    def begin(self, strata: Tensor, N: int) -> Tensor:
        """Where chains of N data begin, [C, N, D], each at its component."""
        if not strata.any():
            return self.sample(len(strata), N)
        counts = strata.bincount().tolist()
        parts = [Mixture((c,)).sample(n, N) for c, n in zip(self.components, counts, strict=True)]
        return torch.cat(parts)[strata.argsort(stable=True).argsort()]

    def standard_error(self, log_w: Tensor) -> Tensor:
        """Of the log of the mean weight of chains log w [C, N], [N], by the delta method; nan for one chain.

        Var mean w = sum_c (n_c / C)^2 Var_c(w) / n_c, over strata of n_c chains.
        """
        strata = self.strata(len(log_w)).to(log_w.device)
        w = (log_w - log_w.amax(0)).exp()
        groups = [w[strata == i] for i in range(int(strata.max()) + 1)]
        variance = torch.stack([len(group) * _variance(group) for group in groups]).sum(0)
        return variance.sqrt() / w.sum(0)


def _variance(w: Tensor) -> Tensor:
    return w.var(0) if len(w) > 1 else torch.full_like(w[0], torch.nan)


def near(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """The normal fitted to the posterior; q where there is none to be had (see `laplace.applies`).

    The nearest start there is, and blind: chains that begin in one mode stay in it.
    """
    return (Component(variational(model, x, qz_x) if applies(model, x, qz_x) else qz_x, 1.0),)


def spread(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """Six chains of eight from that normal, one from q, one from the prior: what the six miss, others may find."""
    if not applies(model, x, qz_x):
        return (Component(qz_x, 0.875), Component(model.prior(), 0.125))
    return (Component(variational(model, x, qz_x), 0.75), Component(model.prior(), 0.125), Component(qz_x, 0.125))


def far(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """The prior: the farthest start, and the one that no mode hides from."""
    return (Component(model.prior(), 1.0),)


@dataclass(frozen=True, slots=True)
class Start:
    """A way for chains to begin: what finding it costs, and the share of chains that begin at the prior."""

    recipe: Recipe
    decodes: Callable[[int], int]  # D -> decoder evaluations for each datum
    free: float  # share of the chains that nothing but the prior has placed: from there every mode can be reached


STARTS: dict[str, Start] = {
    "auto": Start(spread, cost_of_variational, 0.125),
    "posterior": Start(posterior, lambda D: 0, 0.0),
    "laplace": Start(near, cost_of_variational, 0.0),
    "prior": Start(far, lambda D: 0, 1.0),
}
