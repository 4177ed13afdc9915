"""The least that trains the VAE: autograd, tensors in memory, torch's fused Adam, and nothing else."""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from benchmarks.peers.networks import decoder, encoder, images, settle
from benchmarks.worker import serve, wanted

wants = wanted()
settle(wants)
torch.set_flush_denormal(wants.get("flush", False))
x, K, size = images(wants), wants.get("K", 1), wants["batch"]
encode, decode = encoder(), decoder()
optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=1e-3, fused=True)


def minus_elbo(x: Tensor) -> Tensor:
    mu, log_sigma = encode(x).chunk(2, -1)
    sigma = log_sigma.exp()
    logits = decode(mu + sigma * torch.randn_like(mu))
    kl = 0.5 * (mu.square() + sigma.square() - 1 - 2 * log_sigma).sum()
    return (bce(logits, x, reduction="sum") + kl) / len(x)


def minus_iwae(x: Tensor) -> Tensor:
    mu, log_sigma = encode(x).chunk(2, -1)
    eps = torch.randn(K, *mu.shape)
    z = mu + log_sigma.exp() * eps
    logits = decode(z)
    log_px_z = -bce(logits, x.expand_as(logits), reduction="none").sum(-1)
    log_w = log_px_z + (0.5 * (eps.square() - z.square()) + log_sigma).sum(-1)
    return math.log(K) - log_w.logsumexp(0).mean()


def epoch() -> None:
    loss = minus_elbo if K == 1 else minus_iwae
    for index in torch.randperm(len(x)).split(size):
        optimizer.zero_grad()
        loss(x[index]).backward()
        optimizer.step()


serve(epoch)
