"""Climbs of each datum's own ELBO over the encoder's outputs: the best q that a model's own family has for it."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import weigh
from elbo_cli.errors import UserError
from elbo_cli.gap.proposals.ascent import JUDGES, Ascent, worse
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import noise

LEARNING_RATE = 0.03  # Adam's, falling to nothing along a cosine


def own(ascent: Ascent) -> Distribution:
    r"""q(z; h*), h* = argmax_h ELBO( q(z; h) ), the parameters h of each datum free, what data share as it was trained.

    h is what the encoder gives: of a flow mu, sigma and its context, of several layers the parameters of q(z1 | x);
    transforms and links stay. A datum whose ELBO did not rise keeps what the encoder gave it.

    Raises:
        UserError: the model is not elbo's own, and has no such parameters to be had.
    """
    model, x = ascent.model, ascent.x
    if not isinstance(model, VAE):
        raise UserError("The family of this q is its author's own, and its parameters are not known here.")
    start = model.encoder(x).detach()
    end = _climbed(model, ascent, start)
    seed = int(torch.randint(2**62, ()))

    def log_w(h: Tensor) -> Tensor:  # the same noise for both ends
        q = model.family.distribution(h)
        with noise(seed, "judges", device=x.device):
            return ascent.log_w(q, q.sample(torch.Size([JUDGES])))

    back = worse(log_w(end), log_w(start))
    return model.family.distribution(torch.where(back[:, None], start, end))


def _climbed(model: VAE, ascent: Ascent, start: Tensor) -> Tensor:
    h = start.clone().requires_grad_()
    adam = torch.optim.Adam([h], lr=LEARNING_RATE)
    slower: Any = torch.optim.lr_scheduler.CosineAnnealingLR(adam, ascent.steps)
    for _ in range(ascent.steps):
        with torch.enable_grad():
            q = model.family.distribution(h)
            z = q.rsample(torch.Size([ascent.draws]))
            gain = weigh(model, ascent.x, z, q.log_prob(z)).log_w.mean(0)
            (h.grad,) = torch.autograd.grad(-gain.sum(), h)
        adam.step()
        slower.step()
    return h.detach()
