"""A diagonal normal q and a standard normal prior by hand: z, what the bound sees of them, and the way back."""

from collections.abc import Callable

import torch
from torch import Tensor


class Latents:
    r"""K draws z = mu + sigma eps for each of N data, from the encoder's outputs (mu, log sigma) [N, 2 D].

    With delta_k = dL/dz_k of what lies behind z, for L = -sum_n bound_n, and v = softmax_k log w or 1 / K [K, N, 1]:

        elbo:  dL/dmu = sum_k delta_k + beta mu,     dL/dlog sigma = sum_k delta_k eps_k sigma + beta (sigma^2 - 1)
        iwae:  dL/dmu = sum_k delta'_k,              dL/dlog sigma = sum_k delta'_k eps_k sigma - beta,
               delta'_k = delta_k + beta v_k z_k
        stl:   dL/dmu = sum_k delta'_k,              dL/dlog sigma = sum_k delta'_k eps_k sigma,
               delta'_k = delta_k + beta v_k (z_k - eps_k / sigma)
        dreg:  as stl, with (1 - beta + beta v_k) delta'_k in the place of delta'_k
    """

    def __init__(self, K: int, encoded: Tensor, gradient: Tensor) -> None:
        self.mu, self.log_sigma = encoded.chunk(2, 1)  # where the encoder writes them
        self.d_mu, self.d_log_sigma = gradient.chunk(2, 1)  # where it looks for their gradient
        self.sigma, self.scratch = (torch.empty_like(self.mu, memory_format=torch.contiguous_format) for _ in range(2))
        self.z, self.eps, self.delta = (self.mu.new_empty(K, *self.mu.shape) for _ in range(3))
        self.rows, self.delta_rows = self.z.flatten(0, 1), self.delta.flatten(0, 1)
        self.only = (self.delta[0], self.eps[0]) if K == 1 else None

    def draw(self) -> Tensor:
        """z, [K N, D]."""
        self.eps.normal_()
        torch.exp(self.log_sigma, out=self.sigma)
        torch.addcmul(self.mu, self.sigma, self.eps, out=self.z)
        return self.rows

    def kl(self) -> float:
        """KL(q || p) in closed form, summed over the data in float64, in nats."""
        twice = torch.mul(self.mu, self.mu, out=self.scratch).addcmul_(self.sigma, self.sigma)
        twice.sub_(self.log_sigma, alpha=2)
        return 0.5 * (twice.sum(dtype=torch.float64).item() - twice.numel())

    def log_ratio(self) -> Tensor:
        """log p(z) - log q(z | x), float64 [K, N]: sum_j (eps_j^2 - z_j^2) / 2 + log sigma_j."""
        squares = (self.eps.square() - self.z.square()).sum(-1, dtype=torch.float64)
        return 0.5 * squares + self.log_sigma.sum(-1, dtype=torch.float64)

    def back_from_elbo(self, v: Tensor, beta: float) -> None:
        """Write the gradient with respect to the encoder's outputs, from `delta`; its KL is closed, and has no v."""
        self._through_z()
        self.d_mu.add_(self.mu, alpha=beta)
        self.d_log_sigma.addcmul_(self.sigma, self.sigma, value=beta).sub_(beta)

    def back_from_iwae(self, v: Tensor, beta: float) -> None:
        """The same for the importance-weighted bound with normalised weights v [K, N, 1]."""
        self.delta.addcmul_(v, self.z, value=beta)
        self._through_z()
        self.d_log_sigma.sub_(beta)

    def back_by_path(self, v: Tensor, beta: float) -> None:
        """Sticking the landing: the score of q is left out, as in `bounds.gradients`."""
        self._slope(v, beta)
        self._through_z()

    def back_twice(self, v: Tensor, beta: float) -> None:
        """Doubly reparameterised: what comes through z counts by v once more, as in `bounds.gradients.dreg`."""
        self._slope(v, beta)
        self.delta.mul_(1 - beta + beta * v)
        self._through_z()

    def _slope(self, v: Tensor, beta: float) -> None:
        """Add beta v (-d/dz)(log p(z) - log q(z | x)) to `delta`; z is gone then."""
        slope = self.z.addcdiv_(self.eps, self.sigma, value=-1)
        self.delta.addcmul_(v, slope, value=beta)

    def _through_z(self) -> None:
        """What comes through z = mu + sigma eps; eps is gone then."""
        if self.only:
            delta, eps = self.only
            self.d_mu.copy_(delta)
            torch.mul(delta, eps, out=self.d_log_sigma)
        else:
            torch.sum(self.delta, 0, out=self.d_mu)
            torch.sum(self.eps.mul_(self.delta), 0, out=self.d_log_sigma)
        self.d_log_sigma.mul_(self.sigma)


BACK: dict[tuple[str, str], Callable[[Latents, Tensor, float], None]] = {
    ("elbo", "standard"): Latents.back_from_elbo,
    ("elbo", "stl"): Latents.back_by_path,
    ("iwae", "standard"): Latents.back_from_iwae,
    ("iwae", "stl"): Latents.back_by_path,
    ("iwae", "dreg"): Latents.back_twice,
}
