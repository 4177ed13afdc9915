"""A normal at the mode of each datum's posterior, its precision from the decoder's Jacobian (Laplace, Gauss-Newton)."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from elbo_cli.bounds.draws import LatentVariableModel, mean_of
from elbo_cli.gap.proposals.block import Block, Felt
from elbo_cli.gap.proposals.fisher import knows
from elbo_cli.gap.proposals.normal import PrecisionNormal
from elbo_cli.gap.proposals.prior import prior_precision
from elbo_cli.gap.proposals.sight import Sight, feels, sight
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import noise

STEPS = 5
INFLATE = 1.1  # of the variance: a proposal a little too wide costs little, one too narrow costs its tails
LARGEST_LATENT = 512  # a Jacobian is D decodes wide, and its Gram matrix D^2 large, for every datum


def applies(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> bool:
    """Whether a normal can be fitted: Fisher's information is known here, there are derivatives, and D is to be had.

    elbo's own have derivatives. Of another model they are tried on the first datum: its decoder may detach, ask for
    numbers in the middle (numpy, `.item()`, an `if`), or have no forward mode.
    """
    if len(qz_x.event_shape) != 1 or qz_x.event_shape[0] > LARGEST_LATENT:
        return False
    z = start(qz_x)
    return knows(model.likelihood(z)) and (isinstance(model, VAE) or _differentiable(model, x[:1], z[:1]))


def _differentiable(model: LatentVariableModel, x: Tensor, z: Tensor) -> bool:
    """Whether a climb can look around at z [1, D]."""
    with noise(0, "differentiable", device=x.device):  # a decoder that draws takes none of the fit's noise
        try:
            Climb(sight(model, x), z, model.prior())
        except (RuntimeError, TypeError):  # what torch raises where it cannot follow
            return False
        return feels(model, x, z)


def draws_nothing(model: LatentVariableModel, qz_x: Distribution) -> bool:
    """Whether a fit needs no noise: q knows its mean, and the prior its curvature."""
    prior = model.prior()
    normal = isinstance(prior, Independent) and isinstance(prior.base_dist, Normal)
    return normal and isinstance(qz_x, Independent) and isinstance(qz_x.base_dist, Normal)


@torch.no_grad()
def laplace(
    model: LatentVariableModel, x: Tensor, qz_x: Distribution, steps: int = STEPS, inflate: float = INFLATE
) -> PrecisionNormal:
    r"""N(z*, c (P + J' F J)^-1) for each datum, batch [N], event [D].

        z* = argmax_z log p(x, z),  J = d eta / d z,  F the Fisher information of p(x | eta),  P the prior's precision

    Damped Gauss-Newton steps from q's mean: a step that would not climb is not taken, and the next is shorter, so
    that no datum ends below where it began. Looks at x and at no draw: exp L_K stays unbiased.

    Reference: Tierney and Kadane (1986) for Laplace's method; Martens (2020), section 8, for Gauss-Newton and Fisher.
    """
    climb = Climb(sight(model, x), start(qz_x), model.prior())
    for _ in range(steps):
        climb.step()
    return PrecisionNormal(climb.z, climb.block.whole()).inflated(inflate)


def decodes(D: int, steps: int = STEPS) -> int:
    """Decoder evaluations for each datum: a Jacobian counts as D + 1, a value with its gradient as 3."""
    return (steps + 1) * (D + 1 + 3)


class Climb:
    """Levenberg and Marquardt's ascent of log p(x, z), every datum at a damping of its own."""

    def __init__(self, seen: Sight, z: Tensor, prior: Distribution) -> None:
        self.seen, self.z, self.prior = seen, z, prior
        self.felt: Felt | None = None
        self.value, self.gradient, self.block = self._look(z, torch.arange(z.shape[-1], device=z.device))
        self.damping = torch.zeros_like(self.value)

    def keep(self, felt: Felt) -> None:
        """From now on ask for curvature in some latents alone; only where the prior does not tie them to others."""
        self.felt, self.block = felt, self.block.keep(felt)

    def step(self) -> None:
        """One Gauss-Newton step, taken where it climbs."""
        z = self.z + self.block.damped(self.damping).solve(self.gradient)
        value, gradient, block = self._look(z, self.block.latents)
        up = value > self.value  # False for a NaN
        self.z = torch.where(up[:, None], z, self.z)
        self.value = torch.where(up, value, self.value)
        self.gradient = torch.where(up[:, None], gradient, self.gradient)
        self.block = block.where(up, self.block)
        self.damping = torch.where(up, self.damping / 4, (4 * self.damping).clamp(min=0.5))

    def _look(self, z: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Block]:
        """log p(x, z) [N], its gradient [N, D] and P + J' F J, positive definite wherever P is."""
        view = self.seen.look(z.unsqueeze(0))
        information = view.information(latents, 1)
        information = information if self.felt is None else self.felt.only(information)
        block = Block.of(prior_precision(self.prior, z), information, latents)
        return view.value.squeeze(0), view.slope.squeeze(0), block


def start(qz_x: Distribution) -> Tensor:
    """Where to begin: q's mean, or the mean of a few draws for a q that does not know it."""
    return mean_of(qz_x, 16).detach().contiguous()  # a foreign mean may be one number, expanded
