"""Hamiltonian Monte Carlo on the path from a distribution q0 to p(x, z), for many chains of many data at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FAR = 1e6  # beyond it a latent is lost: networks overflow long before, and distributions refuse nan


@dataclass(frozen=True, slots=True)
class Point:
    """Where C chains of N data are, with the two log-densities there and their gradients by z."""

    z: Tensor  # [C, N, D]
    log_q0: Tensor  # [C, N], float64
    log_joint: Tensor  # [C, N], float64
    grad_q0: Tensor  # [C, N, D]
    grad_joint: Tensor  # [C, N, D]

    @property
    def log_ratio(self) -> Tensor:
        """Log of p(x, z) / q0(z), [C, N]."""
        return self.log_joint - self.log_q0

    @property
    def sound(self) -> Tensor:
        """Whether everything here is finite, [C, N]."""
        slopes = (self.grad_q0.isfinite() & self.grad_joint.isfinite()).all(-1)
        return self.log_q0.isfinite() & self.log_joint.isfinite() & slopes

    def log_f(self, beta: float) -> Tensor:
        """Log of f_beta, (1 - beta) log q0 + beta log p(x, z), at an inverse temperature 0 < beta < 1, [C, N]."""
        return (1 - beta) * self.log_q0 + beta * self.log_joint

    def slope(self, beta: float) -> Tensor:
        """The gradient of log_f by z, [C, N, D]."""
        return (1 - beta) * self.grad_q0 + beta * self.grad_joint

    def replaced(self, other: "Point", where: Tensor) -> "Point":
        """A point with the other's chains where `where` [C, N] says so."""
        wide = where.unsqueeze(-1)
        return Point(
            torch.where(wide, other.z, self.z),
            torch.where(where, other.log_q0, self.log_q0),
            torch.where(where, other.log_joint, self.log_joint),
            torch.where(wide, other.grad_q0, self.grad_q0),
            torch.where(wide, other.grad_joint, self.grad_joint),
        )


@dataclass(frozen=True, slots=True)
class Path:
    """The geometric path f_beta(z) = q0(z)^(1 - beta) p(x, z)^beta, as two functions of z [C, N, D] to [C, N]."""

    log_q0: Callable[[Tensor], Tensor]  # normalised
    log_joint: Callable[[Tensor], Tensor]

    def at(self, z: Tensor) -> Point:
        """Both log-densities and gradients at z. A datum's value may depend on its own chain's z only."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            log_q0, log_joint = self.log_q0(z), self.log_joint(z)
            (grad_q0,) = torch.autograd.grad(log_q0.sum(), z)
            (grad_joint,) = torch.autograd.grad(log_joint.sum(), z)
        return Point(z.detach(), log_q0.detach().double(), log_joint.detach().double(), grad_q0, grad_joint)


@dataclass(frozen=True, slots=True)
class Kernel:
    r"""HMC: momentum, leapfrog, Metropolis. Leaves f_beta invariant for any step size that is fixed beforehand.

    The mass is diagonal, 1 / scale^2, for each datum: with q's sigma for a scale, the chain moves in units of q. Each
    trajectory's step is the given one times a uniform factor in [0.8, 1.2], drawn without a look at z, so that no
    length of trajectory is a whole number of periods and the chain cannot stand still.

    Reference: Neal (2011). https://arxiv.org/abs/1206.1901
    """

    path: Path
    leapfrogs: int = 10
    scale: Tensor | None = None  # [N, D]

    def transition(self, start: Point, beta: float, step: Tensor, noise: torch.Generator) -> tuple[Point, Tensor]:
        """One trajectory of every chain at inverse temperature beta, accepted or refused.

        A trajectory that meets anything not finite on its way is refused; that holds backwards as well as forwards, so
        the chain stays reversible.

        Args:
            start: where the chains are.
            beta: inverse temperature, 0 < beta < 1.
            step: step sizes in units of `scale`, [N].
            noise: what momenta, step factors and acceptance are drawn from.

        Returns:
            Where the chains are now, and the probability of acceptance, [C, N] float64.
        """
        z = start.z
        momentum = torch.randn(z.shape, generator=noise, dtype=z.dtype, device=z.device)
        factor = 0.8 + 0.4 * torch.rand(z.shape[:2], generator=noise, dtype=z.dtype, device=z.device)
        stride = (step.to(z) * factor).unsqueeze(-1) * (1 if self.scale is None else self.scale.to(z))
        end, last, sound = self._leapfrog(start, momentum, beta, stride)
        kinetic = (momentum.double().square() - last.double().square()).sum(-1) / 2
        gain = end.log_f(beta) - start.log_f(beta) + kinetic
        probability = gain.masked_fill(~sound, -torch.inf).clamp(max=0).exp()
        uniform = torch.rand(probability.shape, generator=noise, dtype=torch.float64, device=z.device)
        return start.replaced(end, uniform < probability), probability

    def _leapfrog(self, point: Point, momentum: Tensor, beta: float, stride: Tensor) -> tuple[Point, Tensor, Tensor]:
        """Follow the Hamiltonian; the end, its momentum, and whether all was finite on the way, [C, N]."""
        home, sound = point.z, point.sound
        momentum = momentum + stride / 2 * point.slope(beta)
        for i in range(self.leapfrogs):
            z = point.z + stride * momentum
            sound = sound & (z.abs() < FAR).all(-1)  # nan compares false
            point = self.path.at(torch.where(sound.unsqueeze(-1), z, home))  # who is lost waits at home
            sound = sound & point.sound
            share = 0.5 if i + 1 == self.leapfrogs else 1.0
            momentum = momentum + share * stride * point.slope(beta)
        return point, momentum, sound
