"""A normal at the mode of each datum's posterior, its precision from the decoder's Jacobian (Laplace, Gauss-Newton)."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel, log_joint
from elbo_cli.gap.proposals.fisher import knows
from elbo_cli.gap.proposals.jacobian import jacobian
from elbo_cli.gap.proposals.normal import PrecisionNormal
from elbo_cli.gap.proposals.prior import prior_precision

STEPS = 5
INFLATE = 1.1  # of the variance: a proposal a little too wide costs little, one too narrow costs its tails
LARGEST_LATENT = 512  # a Jacobian is D decodes wide, and its Gram matrix D^2 large, for every datum


def applies(model: LatentVariableModel, qz_x: Distribution) -> bool:
    """Whether the model's likelihood has a Fisher information that is known here, and a latent of a size to be had."""
    vector = len(qz_x.event_shape) == 1 and qz_x.event_shape[0] <= LARGEST_LATENT
    return vector and knows(model.likelihood(_start(qz_x)))


def laplace(
    model: LatentVariableModel, x: Tensor, qz_x: Distribution, steps: int = STEPS, inflate: float = INFLATE
) -> PrecisionNormal:
    r"""N(z*, c (P + J' F J)^-1) for each datum, batch [N], event [D].

        z* = argmax_z log p(x, z),  J = d eta / d z,  F the Fisher information of p(x | eta),  P the prior's precision

    Damped Gauss-Newton steps from q's mean: a step that would not climb is not taken, and the next is shorter, so
    that no datum ends below where it began. Looks at x and at no draw: exp L_K stays unbiased.

    Reference: Tierney and Kadane (1986) for Laplace's method; Martens (2020), section 8, for Gauss-Newton and Fisher.
    """
    climb = Climb(model, x, _start(qz_x))
    for _ in range(steps):
        climb.step()
    return PrecisionNormal(climb.z, cholesky(gauss_newton(model, climb.z) / inflate))


def decodes(D: int, steps: int = STEPS) -> int:
    """Decoder evaluations for each datum: a Jacobian counts as D + 1, a value with its gradient as 3."""
    return (steps + 1) * (D + 1 + 3)


class Climb:
    """Levenberg and Marquardt's ascent of log p(x, z), every datum at a damping of its own."""

    def __init__(self, model: LatentVariableModel, x: Tensor, z: Tensor) -> None:
        self.model, self.x, self.z = model, x, z
        self.value, self.gradient = self._joint(z)
        self.damping = torch.zeros_like(self.value)

    def step(self) -> None:
        """One Gauss-Newton step, taken where it climbs."""
        precision = gauss_newton(self.model, self.z)
        ridge = self.damping[:, None] * precision.diagonal(dim1=-2, dim2=-1)
        root = cholesky(precision + torch.diag_embed(ridge))
        z = self.z + torch.cholesky_solve(self.gradient.unsqueeze(-1), root).squeeze(-1)
        value, gradient = self._joint(z)
        up = value > self.value  # False for a NaN
        self.z = torch.where(up[:, None], z, self.z)
        self.value = torch.where(up, value, self.value)
        self.gradient = torch.where(up[:, None], gradient, self.gradient)
        self.damping = torch.where(up, self.damping / 4, (4 * self.damping).clamp(min=0.5))

    def _joint(self, z: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = value_and_slope(self.model, self.x, z.unsqueeze(0))
        return value.squeeze(0), gradient.squeeze(0)


def value_and_slope(model: LatentVariableModel, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x, z), [S, N], and its gradient d log p(x, z) / dz, [S, N, D], at z [S, N, D]."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        log_px_z, log_pz = log_joint(model, x, z)
        value = log_px_z + log_pz
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def gauss_newton(model: LatentVariableModel, z: Tensor) -> Tensor:
    """P + J' F J at z [N, D], [N, D, D]: positive definite wherever P is."""
    everything = torch.arange(z.shape[-1], device=z.device)
    return information(model, z, everything) + prior_precision(model.prior(), z)


def information(model: LatentVariableModel, z: Tensor, latents: Tensor) -> Tensor:
    """J' F J at z [N, D] for the latents a [A], zero for the others, [N, D, D]."""
    N, D = z.shape
    J, f = jacobian(model, z, latents)
    rooted = (J * f.sqrt()).transpose(0, 1)  # [N, A, P]
    full = z.new_zeros(N, D, D)
    full[:, latents[:, None], latents] = rooted @ rooted.mT
    return full


def cholesky(precision: Tensor) -> Tensor:
    """The lower Cholesky factor; the identity's for a datum whose curvature is not finite or not positive."""
    safe = precision.nan_to_num(posinf=0.0, neginf=0.0)
    root, failed = torch.linalg.cholesky_ex(safe)
    bad = (failed > 0) | ~precision.isfinite().flatten(1).all(1)
    return torch.where(bad[:, None, None], torch.eye(precision.shape[-1], dtype=root.dtype, device=root.device), root)


def _start(qz_x: Distribution) -> Tensor:
    """Where to begin: q's mean, or the mean of a few draws for a q that does not know it."""
    try:
        return qz_x.mean.detach().contiguous()  # a foreign mean may be one number, expanded
    except NotImplementedError:
        return qz_x.sample(torch.Size([16])).mean(0)
