"""What a model is integrated for: p(x), the ELBO, and p(z) and q(z | x) themselves, to see that they are densities."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from elbo_cli.bounds.draws import LatentVariableModel, mean_and_spread
from elbo_cli.errors import RunError
from elbo_cli.gap.exact.closed_form import is_diagonal
from elbo_cli.gap.exact.crossed import crossed
from elbo_cli.models.chain import Chain
from elbo_cli.models.flows import FlowNormal

DRAWS = 4096  # of a distribution that does not know its mean and standard deviation
CUT = 36.0  # nats below the highest point, where a density is left out: 8.5 standard deviations of a normal
CUT_Q = 27.0  # the same for q: 7.3 of them, enough for a mean under it


def location_and_scale(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over D latents, [N, D] or [D]; from draws where a distribution does not know them."""
    loc, scale = mean_and_spread(distribution, DRAWS)
    shape = distribution.batch_shape + distribution.event_shape
    return loc.expand(shape), scale.expand(shape)


def smooth(qz_x: Distribution) -> bool:
    """Whether a density is not known to have kinks: a spline has some, and no grid comes to rest on them."""
    first = qz_x.first if isinstance(qz_x, Chain) else qz_x  # all layers are of one family
    return not isinstance(first, FlowNormal) or first.smooth


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates u of the latents: z = centre + scale u."""

    centre: Tensor  # [D]
    scale: Tensor  # [D]

    def z(self, u: Tensor) -> Tensor:
        """The latents at u [..., D], of the type that the model takes."""
        return self.centre + self.scale * u.to(self.centre)

    @property
    def log_volume(self) -> float:
        """Log |dz / du|."""
        return self.scale.double().log().sum().item()


class Joint:
    """Log p(x, z) of a block of data, decoded in pieces of bounded size, and counted."""

    def __init__(self, model: LatentVariableModel, x: Tensor, rows: int, first: int = 0) -> None:
        self.model, self.x, self.rows, self.first = model, x, rows, first
        self.prior = Frame(*location_and_scale(model.prior()))
        self.qz_x = model.posterior(x)
        self.decoded = 0  # rows of z so far
        self.broadcasts, self.rounding = self._probe()

    def __call__(self, z: Tensor, data: Tensor) -> Tensor:
        """Log p(x, z), [G, n], float64, for the data of these numbers [n] at z [G, n, D], or [G, 1, D] for them all.

        Raises:
            RunError: it is NaN or +inf; the sentence names the datum and z.
        """
        shared = z.shape[1] == 1 and self.broadcasts
        z = z if shared else z.expand(-1, len(data), -1)
        size = max(1, self.rows // len(z))
        px_z = self.model.likelihood(z) if shared else None
        parts = []
        for at in torch.split(torch.arange(len(data)), size):
            x = self.x[data[at]]
            log_px_z = self.model.likelihood(z[:, at]).log_prob(x) if px_z is None else crossed(px_z, x)
            parts.append(summable(log_px_z))
        self.decoded += z.shape[0] * z.shape[1]
        log_pxz = torch.cat(parts, 1) + summable(self.model.prior().log_prob(z))
        self._refuse(log_pxz, z, data)
        return log_pxz

    def posterior(self, data: Tensor) -> Distribution:
        """q(z | x) for the data of these numbers. A diagonal normal is encoded once and for all."""
        q = self.qz_x
        if is_diagonal(q):
            return Independent(Normal(q.mean[data], q.stddev[data], validate_args=False), 1, validate_args=False)
        return self.model.posterior(self.x[data])

    def _probe(self) -> tuple[bool, float]:
        """Whether p(x | z) of one z takes many x at once, and the rounding error of what it gives.

        The contract of a model asks for a z for every x. One z for all saves most of the decoding, where the
        likelihood broadcasts, and gives the same.
        """
        u = torch.linspace(-1.0, 1.0, 3, dtype=torch.float64)[:, None, None]
        z, x = self.prior.z(u), self.x[:1].repeat(2, *[1] * (self.x.dim() - 1))
        x[1:] = self.x[-1:]
        one_each = self.model.likelihood(z.expand(-1, 2, -1)).log_prob(x)
        rounding = 4 * torch.finfo(one_each.dtype).eps
        try:
            for_all = crossed(self.model.likelihood(z), x)
        except (RuntimeError, ValueError, IndexError):
            return False, rounding
        alike = for_all.shape == one_each.shape and torch.allclose(for_all, one_each, rtol=100 * rounding, atol=1e-6)
        return alike, rounding

    def _refuse(self, log_pxz: Tensor, z: Tensor, data: Tensor) -> None:
        bad = (log_pxz.isnan() | (log_pxz == float("inf"))).nonzero()
        if len(bad):
            g, k = bad[0].tolist()
            place = ", ".join(f"{c:.4g}" for c in z[g, min(k, z.shape[1] - 1)].tolist())
            raise RunError(
                f"log p(x, z) of datum {self.first + int(data[k])} is {log_pxz[g, k].item()} at z = ({place}): "
                "the model gives no finite number there. --method importance needs one only where its draws fall."
            )


class Evidence:
    """p(x, z) over z: the integral is p(x)."""

    cut, logarithmic = CUT, True

    def __init__(self, joint: Joint) -> None:
        self.joint, self.frame, self.rounding = joint, joint.prior, joint.rounding

    def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(x, z) as a density over u, and 1."""
        f = self.joint(self.frame.z(u), data) + self.frame.log_volume
        return f, torch.ones_like(f)


class Bound:
    """q(z | x) log w over z: the integral is the ELBO."""

    cut, logarithmic = CUT_Q, False

    def __init__(self, joint: Joint, frame: Frame) -> None:
        self.joint, self.frame, self.rounding = joint, frame, joint.rounding
        self.q = Density(joint.posterior, frame, CUT_Q)

    def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """Log q(z | x) as a density over u, and log w = log p(x, z) - log q(z | x)."""
        f, _ = self.q(u, data)
        log_w = self.joint(self.frame.z(u), data) + self.frame.log_volume - f
        return f, torch.where(f.isneginf(), 0.0, log_w)


class Density:
    """A distribution over z: the integral is 1, if its log_prob is the logarithm of a density."""

    logarithmic = True

    def __init__(self, of: Callable[[Tensor], Distribution], frame: Frame, cut: float) -> None:
        self.of, self.frame, self.cut = of, frame, cut
        self.rounding = 4 * torch.finfo(frame.centre.dtype).eps

    def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """Its logarithm as a density over u, and 1; `of` gives the distribution for the data of these numbers."""
        z = self.frame.z(u).expand(-1, len(data), -1)
        f = summable(self.of(data).log_prob(z)) + self.frame.log_volume
        return f, torch.ones_like(f)


def summable(value: Tensor) -> Tensor:
    """As what is to be summed is held: float64, on the CPU."""
    return value.detach().to("cpu", torch.float64)
