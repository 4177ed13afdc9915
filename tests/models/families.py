"""Every family of q(z|x) and p(z) over two latents: small VAEs in float64, their weights anywhere but at rest."""

import torch
from torch import Tensor

from elbo_cli import config as configs
from elbo_cli.build_model import open_model
from elbo_cli.data.split import Split
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import noise

PIXELS = 5
TWO = "latent_dim: 2"
CHAIN = "latent_dim: [1, 1], between: {hidden: [6]}"
POSTERIORS = {
    "diagonal_normal": TWO,
    "lowrank_normal": f"{TWO}, posterior: lowrank_normal, rank: 1",
    "full_normal": f"{TWO}, posterior: full_normal",
    "realnvp": f"{TWO}, posterior: flow, flow: realnvp, flow_transforms: 3, flow_hidden: [8]",
    "nsf": f"{TWO}, posterior: flow, flow: nsf, flow_transforms: 2, flow_hidden: [8]",
    "maf": f"{TWO}, posterior: flow, flow: maf, flow_transforms: 2, flow_hidden: [8]",
    "two layers": CHAIN,
    "two layers of flows": f"{CHAIN}, posterior: flow, flow: nsf, flow_transforms: 1, flow_hidden: [8]",
}
PRIORS = {
    "standard_normal": TWO,
    "mixture": f"{TWO}, prior: mixture, components: 3",
    "vamp": f"{TWO}, prior: vamp, components: 4",
    "vamp of full normals": f"{TWO}, prior: vamp, components: 4, posterior: full_normal",
    "realnvp": f"{TWO}, prior: flow, flow: realnvp, flow_transforms: 3, flow_hidden: [8]",
    "nsf": f"{TWO}, prior: flow, flow: nsf, flow_transforms: 2, flow_hidden: [8]",
    "maf": f"{TWO}, prior: flow, flow: maf, flow_transforms: 2, flow_hidden: [8]",
    "two layers": CHAIN,
    "two layers below a mixture": f"{CHAIN}, prior: mixture, components: 3",
}
ALL = {f"q: {name}": text for name, text in POSTERIORS.items()} | {f"p: {name}": text for name, text in PRIORS.items()}


def vae(families: str, *, seed: int = 0, scale: float = 0.35, more: str = "") -> VAE:
    """A VAE on five binary pixels; every weight is drawn, so that no flow is the identity and no sigma is 1."""
    body = "encoder: {hidden: [6]}, decoder: {hidden: [6]}, init: torch"
    config = configs.loads(f"seed: {seed}\nmodel: {{{families}, {body}{more}}}")
    model = open_model(config, (PIXELS,), Split("train", pixels(40), "pixels")).double()
    with noise(seed, "families"), torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(pixels(len(parameter)) if name == "latent.u" else scale * torch.randn(parameter.shape))
    return model


def pixels(N: int) -> Tensor:
    """N data, each a pattern of its own as long as there are some: 0 and 1, float64."""
    return ((torch.arange(N)[:, None] // 2 ** torch.arange(PIXELS)) % 2).double()
