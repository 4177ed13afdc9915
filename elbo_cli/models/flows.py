"""Normalising flows over the latents, their transforms zuko's: z = mu + sigma f(e), e ~ N(0, I)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from elbo_cli.errors import choose, need_extra

BINS = 8  # of a spline, between -5 and 5; beyond them it is the identity


class FlowNormal(Distribution):
    r"""z = mu + sigma f(e), e ~ N(0, I), batch [...], event [D], f a chain of zuko's transforms.

        log q(z) = log N(e; 0, I) - log |df / de| - sum log sigma

    A draw that comes back to `log_prob` as the same tensor needs no inverse of f, which an autoregressive f makes one
    latent at a time. Reference: Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own class attribute
    has_rsample = True

    def __init__(self, mu: Tensor, sigma: Tensor, f: Any, *, smooth: bool = True) -> None:
        """`smooth`: whether its density has no kinks, which no grid's rule gets over."""
        super().__init__(mu.shape[:-1], mu.shape[-1:], validate_args=False)
        self.mu, self.sigma, self.f, self.smooth = mu, sigma, f, smooth
        self._drawn: tuple[Tensor, Tensor, bool] | None = None

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, [*sample_shape, ..., D]."""
        e = torch.randn(*sample_shape, *self.mu.shape, dtype=self.mu.dtype, device=self.mu.device)
        u, log_det = self.f.call_and_ladj(e)
        z: Tensor = self.mu + self.sigma * u
        self._drawn = (z, self._log_q(e, log_det), torch.is_grad_enabled())
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z) for z [*, ..., D], in nats."""
        if self._drawn is not None and value is self._drawn[0] and (self._drawn[2] or not torch.is_grad_enabled()):
            return self._drawn[1]
        e, log_det = self.f.inv.call_and_ladj((value - self.mu) / self.sigma)
        return self._log_q(e, -log_det)

    def _log_q(self, e: Tensor, log_det: Tensor) -> Tensor:
        constant = 0.5 * e.shape[-1] * math.log(2 * math.pi)
        return -0.5 * e.square().sum(-1) - log_det - self.sigma.log().sum(-1) - constant


def need_zuko(what: str) -> None:
    """Import zuko, which is an extra, and leave torch's checks as they were.

    Its import turns them off for every distribution of the process, those of a user's own model too, whose data would
    then no longer be held to its likelihood's support.

    Args:
        what: what it is needed for, for the message.

    Raises:
        UserError: zuko is not installed.
    """
    checks = Distribution._validate_args
    try:
        import zuko  # noqa: F401
    except ImportError as error:
        raise need_extra("zuko", "flows", what) from error
    finally:
        Distribution.set_default_validate_args(checks)


class Transforms(nn.Module):
    """A chain of zuko's transforms, given a context [..., C] or none; it begins as the identity.

    Raises:
        UserError: zuko is not installed, or there is no such kind.
    """

    def __init__(self, kind: str, D: int, context: int, count: int, hidden: Sequence[int]) -> None:
        super().__init__()
        make = choose(FLOWS, kind, "flow")
        need_zuko("A flow as q(z|x) or p(z)")
        options = {"hidden_features": tuple(hidden), "activation": nn.Tanh}
        self.smooth = kind != "nsf"  # the knots of its splines
        self.parts = nn.ModuleList(make(D, context, i, options) for i in range(count))
        for part in self.parts:
            _at_rest(part)

    def forward(self, context: Tensor | None = None) -> Any:
        """zuko's transform, e to u."""
        from zuko.transforms import ComposedTransform

        return ComposedTransform(*(part(context) for part in self.parts))


def _at_rest(part: nn.Module) -> None:
    """Let a transform begin as the identity, which every one of them is at parameters of zero."""
    layers = [layer for layer in part.modules() if isinstance(layer, nn.Linear)]
    last = [*layers[-1].parameters()] if layers else [*part.parameters()]  # one latent, no context: no network
    for parameter in last:
        nn.init.zeros_(parameter)


def _affine() -> dict[str, Any]:
    from zuko.transforms import MonotonicAffineTransform

    return {"univariate": MonotonicAffineTransform, "shapes": ((), ())}


def _spline() -> dict[str, Any]:
    from zuko.transforms import MonotonicRQSTransform

    return {"univariate": partial(MonotonicRQSTransform, slope=1e-3), "shapes": ((BINS,), (BINS,), (BINS - 1,))}


def _coupling(univariate: dict[str, Any], D: int, context: int, number: int, options: dict[str, Any]) -> Any:
    """Every other transform moves every other latent."""
    from zuko.flows import GeneralCouplingTransform

    mask = torch.arange(D) % 2 == number % 2
    return GeneralCouplingTransform(D, context, mask, **univariate, **options)


def _autoregressive(univariate: dict[str, Any], D: int, context: int, number: int, options: dict[str, Any]) -> Any:
    """Each latent moved by those before it, in an order that every other transform turns round."""
    from zuko.flows import MaskedAutoregressiveTransform

    order = torch.arange(D)
    return MaskedAutoregressiveTransform(
        D, context, order=order.flip(0) if number % 2 else order, **univariate, **options
    )


# (D, size of the context, number in the chain, options of its network) -> a transform e to u
FLOWS: dict[str, Callable[[int, int, int, dict[str, Any]], Any]] = {
    "realnvp": lambda *about: _coupling(_affine(), *about),
    "nsf": lambda *about: _coupling(_spline(), *about),
    "maf": lambda *about: _autoregressive(_affine(), *about),
}
