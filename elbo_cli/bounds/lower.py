"""Lower bounds on log p(x), each [N] and in nats, as pure functions of draws."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from elbo_cli.bounds.draws import Draws


def reconstruction(draws: Draws) -> Tensor:
    """E_q[ log p(x | z) ], the mean over draws, [N] in nats."""
    return draws.log_px_z.double().mean(0)


def kl(draws: Draws) -> Tensor:
    """KL( q(z | x) || p(z) ), [N] in nats: the closed form where there is one, else the mean of log q - log p.

    The closed form is >= 0. The Monte Carlo mean is unbiased and may fall below zero.
    """
    if draws.kl is not None:
        return draws.kl.double()
    return (draws.log_qz_x.double() - draws.log_pz.double()).mean(0)


def elbo(draws: Draws) -> Tensor:
    r"""Evidence lower bound, unbiased for each K.

        ELBO = E_q[ log p(x | z) ] - KL( q(z | x) || p(z) )

    Args:
        draws: K draws from q(z | x) for each of N data.

    Returns:
        ELBO in nats, [N]; E[ELBO] = log p(x) - KL( q(z | x) || p(z | x) ).

    Reference: Kingma and Welling (2014). https://arxiv.org/abs/1312.6114
    """
    return reconstruction(draws) - kl(draws)


def iwae(draws: Draws) -> Tensor:
    r"""Importance-weighted bound, tight as K grows.

        L_K = log 1/K sum_k w_k,    log w = log p(x, z) - log q(z | x)

    Args:
        draws: K draws from q(z | x) for each of N data.

    Returns:
        L_K in nats, [N]; E[L_K] <= log p(x), because E[exp L_K] = p(x).

    Reference: Burda et al. (2016). https://arxiv.org/abs/1509.00519
    """
    return draws.log_w.logsumexp(0) - math.log(len(draws.log_w))


def tempered(draws: Draws, beta: float) -> Draws:
    r"""The same draws with the KL weighted by beta: log w = log p(x | z) + beta ( log p(z) - log q(z | x) ).

    For training alone: with beta < 1 what comes of it is no bound. Higgins et al. (2017); Sonderby et al. (2016).
    """
    kl = None if draws.kl is None else beta * draws.kl
    return replace(draws, log_pz=beta * draws.log_pz, log_qz_x=beta * draws.log_qz_x, kl=kl, beta=beta * draws.beta)


def free_bits(kl_per_latent: Tensor, floor: float) -> Tensor:
    r"""The KL of which every latent may spend `floor` nats for nothing: sum_j max( mean_n KL_nj, floor ), as [N].

    For training alone. Kingma et al. (2016), section 4 (IAF): the maximum is taken of the batch's mean.
    """
    total = kl_per_latent.mean(0).clamp(min=floor).sum()
    return total.expand(len(kl_per_latent))


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower bound on log p(x): its estimate from draws, [N] in nats."""

    estimate: Callable[[Draws], Tensor]
    weights: bool = True  # whether it looks at log w; if not, a closed-form KL is all that it needs


BOUNDS: dict[str, Bound] = {
    "elbo": Bound(elbo, weights=False),
    "iwae": Bound(iwae),
}
