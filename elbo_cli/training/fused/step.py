"""The fused step: one update of the hot path, with every gradient written out by hand."""

import math

import torch
from torch import Tensor

from elbo_cli.models.vae import VAE
from elbo_cli.training.adam import Adam, Flat
from elbo_cli.training.company import pool_flat
from elbo_cli.training.experiment import Objective
from elbo_cli.training.fused.dense import Dense, Network
from elbo_cli.training.fused.latents import BACK, Latents
from elbo_cli.training.fused.networks import network
from elbo_cli.training.fused.pixels import Pixels


class FusedStep:
    """A `Step` for what `fits` it: the plain step's numbers to float32's rounding, with the same noise.

    From its making on, the model's parameters are views of one buffer.
    """

    def __init__(self, model: VAE, optimizer: Adam, objective: Objective, clip_norm: float | None = None) -> None:
        self.optimizer, self.objective, self.clip_norm = optimizer, objective, clip_norm
        self.weights, self.gradients = Flat(optimizer.parameters), Flat(optimizer.parameters)
        for parameter, place in zip(optimizer.parameters, self.weights.parts, strict=True):
            place.copy_(parameter.detach())
            parameter.data = place
        places = dict(zip(optimizer.parameters, self.gradients.parts, strict=True))
        self.encoder, self.decoder = network(model.encoder, places), network(model.decoder, places)
        self.passes: dict[int, Pass] = {}  # by the number of data: a last batch is short

    @torch.no_grad()
    def __call__(self, x: Tensor, beta: float) -> Tensor:
        """Update once; returns the batch's sums of bound, ELBO, reconstruction and KL, all at beta = 1."""
        N = len(x)
        if N not in self.passes:
            self.passes[N] = Pass(self.encoder, self.decoder, self.objective, N)
        sums = self.passes[N](x.view(N, -1), beta)
        pool_flat(self.gradients.whole, N)
        if self.clip_norm is not None:
            clip(self.gradients.whole, self.clip_norm)
        self.optimizer.step_flat(self.weights, self.gradients)
        return torch.tensor(sums, dtype=torch.float64)


class Pass:
    """Forwards and backwards through the model, for N data with K draws each, in buffers of its own."""

    def __init__(self, encoder: Network, decoder: Network, objective: Objective, N: int) -> None:
        K, width = objective.samples, len(decoder.layers[-1].bias)
        self.K, self.weighted = K, objective.bound == "iwae"
        self.back, self.alike = BACK[objective.bound, objective.gradient], torch.tensor(1 / K)
        self.pixels = Pixels(K, N, width, decoder.layers[-1].bias)
        self.encoder, self.decoder = Dense(encoder, N, 1 / N), Dense(decoder, K * N, 1 / N, self.pixels.delta)
        self.latents = Latents(K, self.encoder.outputs, self.encoder.delta)
        self.logits = self.decoder.outputs.view(K, N, width)

    def __call__(self, x: Tensor, beta: float) -> tuple[float, float, float, float]:
        """Leave the gradients of -mean bound in their places; returns the sums that a step returns."""
        self.encoder.forward(x)
        self.decoder.forward(self.latents.draw())
        log_px_z = self.pixels.log_prob(x, self.logits)
        delta = self.pixels.gradient()
        recon, kl = _sum(log_px_z) / self.K, self.latents.kl()
        bound = self._iwae(log_px_z.double(), delta, beta) if self.weighted else self._elbo(recon - kl, delta, beta)
        self.encoder.backward(x)
        return bound, recon - kl, recon, kl

    def _elbo(self, bound: float, delta: Tensor, beta: float) -> float:
        if self.K > 1:
            delta.div_(self.K)
        self.decoder.backward(self.latents.rows, inward=self.latents.delta_rows)
        self.back(self.latents, self.alike, beta)
        return bound

    def _iwae(self, log_px_z: Tensor, delta: Tensor, beta: float) -> float:
        ratio = self.latents.log_ratio()
        v = (log_px_z + beta * ratio).softmax(0).to(delta.dtype).unsqueeze(-1)
        delta.mul_(v)
        self.decoder.backward(self.latents.rows, inward=self.latents.delta_rows)
        self.back(self.latents, v, beta)
        return _sum((log_px_z + ratio).logsumexp(0) - math.log(self.K))


def _sum(values: Tensor) -> float:
    """The sum over draws and data in float64; on the CPU there is no device to wait for."""
    return values.sum(dtype=torch.float64).item()


def clip(gradient: Tensor, norm: float) -> None:
    """Scale a gradient to `norm` where it is longer, as torch.nn.utils.clip_grad_norm_ does."""
    gradient.mul_(torch.clamp(norm / (torch.linalg.vector_norm(gradient) + 1e-6), max=1.0))
