"""The waist of the house: a latent-variable model is three distributions, and draws are all that a bound may see."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence


class LatentVariableModel(Protocol):
    """Three distributions in the vocabulary of `torch.distributions`; anything that has them can be measured."""

    def prior(self) -> Distribution:
        """p(z), event [D]."""
        ...

    def posterior(self, x: Tensor) -> Distribution:
        """q(z | x), batch [N], event [D]."""
        ...

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x | z) for z [..., N, D], batch [..., N]; its event is the shape of a datum."""
        ...


@runtime_checkable
class Quick(Protocol):
    """A model that knows a quicker way to log p(x | z) than through the distribution p(x | z).

    A name that no model of a user's own has by accident: `log_likelihood` would be one.
    """

    def quick_log_likelihood(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """What `likelihood(z).log_prob(x)` is, [K, N], for x [N, ...], as a function of z [K, N, D].

        What needs no z is done once: no weight may change while the function is in use.
        """
        ...


@dataclass(frozen=True, slots=True)
class Draws:
    """K draws z ~ q(z | x) for each of N data, with the log-densities at those draws, in nats."""

    z: Tensor  # [K, N, D]
    log_px_z: Tensor  # [K, N]
    log_pz: Tensor  # [K, N]
    log_qz_x: Tensor  # [K, N]
    kl: Tensor | None = None  # [N], KL(q || p) where it has a closed form
    beta: float = 1.0  # by which log p(z), log q(z | x) and kl are multiplied; other than 1 in training alone

    @property
    def log_w(self) -> Tensor:
        """Log w = log p(x, z) - log q(z | x), [K, N], float64: what is summed over k or n is summed in float64."""
        return self.log_px_z.double() + self.log_pz.double() - self.log_qz_x.double()


def log_likelihood(model: LatentVariableModel, x: Tensor) -> Callable[[Tensor], Tensor]:
    """log p(x | z), [K, N], of data x [N, ...] as a function of z [K, N, D]: for a z after another."""
    if isinstance(model, Quick):
        return model.quick_log_likelihood(x)
    # draws may come as a transposed product: a user's decoder may want to view them as [K N, D]
    return lambda z: model.likelihood(z.contiguous()).log_prob(x)


def log_joint(model: LatentVariableModel, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x | z) and log p(z), each [K, N], for x [N, ...] and z [K, N, D]."""
    return log_likelihood(model, x)(z), model.prior().log_prob(z)


def weigh(model: LatentVariableModel, x: Tensor, z: Tensor, log_qz_x: Tensor) -> Draws:
    """Draws from any proposal: z [K, N, D] with the log-density log q(z | x) [K, N] that they were drawn from."""
    log_px_z, log_pz = log_joint(model, x, z)
    return Draws(z, log_px_z, log_pz, log_qz_x)


def draw(
    model: LatentVariableModel,
    x: Tensor,
    K: int,
    qz_x: Distribution | None = None,
    *,
    weights: bool = True,
    path: bool = False,
) -> Draws:
    """K draws z ~ q(z | x) for each datum of x, reparameterised where q allows it.

    Args:
        model: the three distributions.
        x: data, [N, ...].
        K: draws for each datum.
        qz_x: q(z | x) if the caller has it already; otherwise `model.posterior(x)`.
        weights: whether anybody will look at log w. If not, and the KL has a closed form, log p(z) and log q(z | x)
            are not computed and are nan.
        path: whether log q(z | x) shall have the gradient of its path alone; see `path_log_prob`. With weights.
    """
    qz_x = model.posterior(x) if qz_x is None else qz_x
    z = qz_x.rsample((K,)) if qz_x.has_rsample else qz_x.sample((K,))
    z = z.view_as(z) if path else z  # a distribution that remembers its draws must not know this one again
    pz = model.prior()
    divergence = closed_form_kl(qz_x, pz)
    log_px_z = model.likelihood(z).log_prob(x)
    if divergence is not None and not weights:
        unknown = torch.full_like(log_px_z, torch.nan, requires_grad=False)
        return Draws(z, log_px_z, unknown, unknown, divergence)
    log_qz_x = path_log_prob(qz_x, z) if path else qz_x.log_prob(z)
    return Draws(z, log_px_z, pz.log_prob(z), log_qz_x, divergence)


def path_log_prob(qz_x: Distribution, z: Tensor) -> Tensor:
    """log q(z | x) [K, N] whose gradient reaches q's parameters through z alone.

    The whole derivative is that of the path and the score, and the score is the derivative at a z that stands still:
    it is taken away, and the number stays. That needs nothing of q but its log_prob, so that flows, mixtures and
    several layers are served alike, and no second pass through an encoder, whose dropout would be another.
    """
    whole, score = qz_x.log_prob(z), qz_x.log_prob(z.detach())
    return whole - (score - score.detach())


def mean_of(distribution: Distribution, S: int) -> Tensor:
    """E[z], [..., D]: the distribution's own mean, or that of S draws where it knows none, or none that is finite."""
    mean = None
    with suppress(NotImplementedError, AttributeError):
        mean = distribution.mean
        if mean.isfinite().all():
            return mean
    try:
        return distribution.sample(torch.Size([S])).mean(0)
    except RuntimeError:  # torch draws nothing where a parameter is no number: then the mean is none either
        if mean is None:
            raise
        return mean


def mean_and_spread(distribution: Distribution, S: int) -> tuple[Tensor, Tensor]:
    """E[z] and the standard deviations, [..., D] each: its own where both are numbers, else those of S draws."""
    with suppress(NotImplementedError, AttributeError):
        mean, spread = distribution.mean, distribution.stddev
        if (mean.isfinite() & spread.isfinite() & (spread > 0)).all():
            return mean, spread
    z = distribution.sample(torch.Size([S]))
    return z.mean(0), z.std(0)


def closed_form_kl(qz_x: Distribution, pz: Distribution) -> Tensor | None:
    """KL(q(z | x) || p(z)), [N], or None where torch knows no closed form for the pair."""
    try:
        return kl_divergence(qz_x, pz)
    except NotImplementedError:
        return None


def kl_per_latent(qz_x: Distribution, pz: Distribution) -> Tensor | None:
    """KL( q(z_j | x) || p(z_j) ) of every latent, [N, D], where both factorise over latents; else None."""
    if not (isinstance(qz_x, Independent) and isinstance(pz, Independent)):
        return None
    q, p = qz_x.base_dist, pz.base_dist
    flat = len(q.event_shape) == len(p.event_shape) == 0 and qz_x.reinterpreted_batch_ndims == 1
    return closed_form_kl(q, p) if flat else None
