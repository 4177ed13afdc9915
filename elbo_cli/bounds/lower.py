"""Lower bounds on log p(x), each [N] and in nats, as pure functions of draws."""

import math
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower bound on log p(x): its estimate from draws, [N] in nats."""

    estimate: Callable[[Draws], Tensor]


BOUNDS: dict[str, Bound] = {
    "elbo": Bound(elbo),
    "iwae": Bound(iwae),
}
