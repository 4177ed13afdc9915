"""A flow of its own for every datum, all data at once: affine couplings on top of a refined normal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from elbo_cli.bounds.draws import log_joint
from elbo_cli.gap.proposals.ascent import Ascent, judges, worse
from elbo_cli.models.flows import need_zuko
from elbo_cli.models.normals import FullNormal, apply

LAYERS = 4  # every other one moves every other latent
HIDDEN = 32
LEARNING_RATE = 0.01  # Adam's, falling to nothing along a cosine


@dataclass(frozen=True, slots=True)
class Coupling:
    """A layer: the latents that stay give those that move a scale and a shift, by a network of each datum's own."""

    stays: Tensor  # [D], bool
    weights: tuple[Tensor, ...]  # [N, a, H], [N, H], [N, H, 2 b] and [N, 2 b], where a latents stay and b move

    def __call__(self, kept: Tensor) -> Any:
        """zuko's transform of the latents that move, given those that stay, [..., N, a]."""
        from zuko.transforms import DependentTransform, MonotonicAffineTransform

        inward, bias, outward, offset = self.weights
        hidden = torch.tanh(torch.einsum("...na,nah->...nh", kept, inward) + bias)
        shift, scale = (torch.einsum("...nh,nho->...no", hidden, outward) + offset).chunk(2, -1)
        return DependentTransform(MonotonicAffineTransform(shift, scale), 1)

    def only(self, where: Tensor) -> "Coupling":
        """The same layer for the data in `where` [N], and the identity for all others."""
        kept = (torch.where(where.view(-1, *[1] * (w.dim() - 1)), w, 0.0) for w in self.weights)
        return Coupling(self.stays, tuple(kept))

    def detached(self) -> "Coupling":
        """The same layer, its weights constants."""
        return Coupling(self.stays, tuple(w.detach() for w in self.weights))


class CouplingFlow(Distribution):
    """z = mu + L f(e), e ~ N(0, I), f a chain of couplings: batch [N], event [D].

    Reference: Dinh et al. (2017), https://arxiv.org/abs/1605.08803 (RealNVP); its transforms are zuko's.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own class attribute
    has_rsample = True

    def __init__(self, base: FullNormal, couplings: Sequence[Coupling]) -> None:
        from zuko.transforms import ComposedTransform, CouplingTransform

        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base, self.couplings = base, couplings
        self.f = ComposedTransform(*(CouplingTransform(c, c.stays) for c in couplings))

    def push(self, e: Tensor) -> Tensor:
        """z = mu + L f(e) for e [..., N, D]."""
        return self.base.loc + apply(self.base.scale_tril, self.f(e))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, [*sample_shape, N, D]."""
        loc = self.base.loc
        return self.push(torch.randn(*sample_shape, *loc.shape, dtype=loc.dtype, device=loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z) for z [..., N, D], in nats, [..., N]; each coupling's inverse has a closed form."""
        L = self.base.scale_tril
        shift = (value - self.base.loc).reshape(-1, *self.base.loc.shape).permute(1, 2, 0)
        white = torch.linalg.solve_triangular(L, shift, upper=False).permute(2, 0, 1)  # L once a datum, not once a draw
        e, log_det = self.f.inv.call_and_ladj(white)
        log_det = log_det - L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_q: Tensor = log_det - 0.5 * e.square().sum(-1) - 0.5 * e.shape[-1] * math.log(2 * math.pi)
        return log_q.view(value.shape[:-1])

    def constant(self) -> "CouplingFlow":
        """The same flow, its weights constants."""
        return CouplingFlow(self.base, [c.detached() for c in self.couplings])

    def only(self, where: Tensor) -> "CouplingFlow":
        """The same flow for the data in `where` [N], and its base for all others."""
        return CouplingFlow(self.base, [c.only(where) for c in self.couplings])


def flow(ascent: Ascent, base: FullNormal) -> CouplingFlow:
    r"""Climb each datum's ELBO over flows, from the identity on top of a normal; a datum that did not gain keeps that.

        d ELBO / d theta = E[ d/dz ( log p(x, z) - log q(z) ) dz / d theta ]

    is the path gradient, which vanishes draw by draw as q nears p(z | x); Adam follows it.

    Raises:
        UserError: zuko is not installed.

    Reference: Vaitl et al. (2022), https://arxiv.org/abs/2207.08219 (path gradients of flows).
    """
    couplings = identity(base)
    weights = [w for c in couplings for w in c.weights]
    q = CouplingFlow(base, couplings)
    adam = torch.optim.Adam(weights, lr=LEARNING_RATE)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, ascent.steps)
    for _, e in ascent.rounds(base.loc):
        for weight, slope in zip(weights, _slopes(ascent, q, e, weights), strict=True):
            weight.grad = slope
        adam.step()
        slower.step()
    return _kept(ascent, q.constant())


def identity(base: FullNormal) -> list[Coupling]:
    """Layers that do nothing yet: their last weights are zero.

    Raises:
        UserError: zuko is not installed.
    """
    need_zuko("A flow for each datum")
    N, D = base.loc.shape
    like: dict[str, Any] = {"dtype": base.loc.dtype, "device": base.loc.device}
    couplings = []
    for layer in range(LAYERS):
        stays = ((torch.arange(D) + layer) % 2 == 0) & (D > 1)  # a single latent has none to be moved by
        a = int(stays.sum())
        inward = torch.randn(N, a, HIDDEN, **like) / math.sqrt(max(a, 1))
        rest = [torch.zeros(N, *shape, **like) for shape in ((HIDDEN,), (HIDDEN, 2 * (D - a)), (2 * (D - a),))]
        couplings.append(Coupling(stays.to(base.loc.device), tuple(w.requires_grad_() for w in (inward, *rest))))
    return couplings


def _slopes(ascent: Ascent, q: CouplingFlow, e: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Path gradients of the loss by the weights; one datum's never enter another's."""
    with torch.enable_grad():
        z = q.push(e)
        log_px_z, log_pz = log_joint(ascent.model, ascent.x, z)
        gain = log_px_z + log_pz - q.constant().log_prob(z)
        return torch.autograd.grad(-gain.mean(0).sum(), list(weights))


def _kept(ascent: Ascent, q: CouplingFlow) -> CouplingFlow:
    """The flow, or its base for a datum that the flow makes worse."""
    e = judges(q.base.loc)
    base = q.only(torch.zeros_like(q.base.loc[:, 0], dtype=torch.bool))
    return q.only(~worse(*(ascent.log_w(end, end.push(e)) for end in (q, base))))
