"""log p(x) from K draws of q as others compute it: the libraries themselves, or their loops in a few lines of torch.

Each gives L_K of every image, so that the answers can be held to one another.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import softplus

from benchmarks.peers.networks import D, decoder, encoder, images, settle
from benchmarks.worker import serve, wanted

wants = wanted()
settle(wants)
K, x = wants["K"], images(wants)[: wants["examples"]]
encode, decode = encoder(), decoder()


def drawn(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """k draws of q for each image, [k, N, D], and log p(z) - log q(z | x), [k, N]."""
    mu, log_sigma = encode(x).chunk(2, -1)
    eps = torch.randn(k, *mu.shape)
    z = mu + log_sigma.exp() * eps
    return z, (0.5 * (eps.square() - z.square()) + log_sigma).sum(-1)


def one_image_a_call() -> Tensor:
    """All draws of one image at once, with torch's own loss."""
    found = []
    for image in x.split(1):
        z, rest = drawn(image, K)
        log_px_z = -bce(decode(z), image.expand(K, 1, -1), reduction="none").sum(-1)
        found.append((log_px_z + rest).logsumexp(0) - math.log(K))
    return torch.cat(found)


def in_passes(size: int) -> Callable[[], Tensor]:
    """Draws of one image, `size` a pass, kept in a list: vae_vampprior's and scvi-tools' loops."""

    def work() -> Tensor:
        found = []
        for image in x.split(1):
            log_w = []
            for _ in range(K // size):
                z, rest = drawn(image.expand(size, -1), 1)
                p = decode(z[0]).sigmoid().clamp(1e-5, 1 - 1e-5)
                log_px_z = (image * p.log() + (1 - image) * (1 - p).log()).sum(-1)
                log_w.append(log_px_z + rest[0])
            found.append(torch.cat(log_w).logsumexp(0) - math.log(K))
        return torch.stack(found)

    return work


def batched() -> Tensor:
    """Passes of all images at once, one draw of each: yburda/iwae's strategy, with a running log-sum."""
    total = torch.full((len(x),), -torch.inf)
    for _ in range(K):
        z, rest = drawn(x, 1)
        logits = decode(z[0])
        total = torch.logaddexp(total, (x * logits - softplus(logits)).sum(-1) + rest[0])
    return total - math.log(K)


def pythae() -> Tensor:
    """Its VAE's own get_nll, a thousand draws a pass; despite its name it gives the mean of log p(x)."""
    from pythae.models import VAE, VAEConfig

    from benchmarks.peers.pythae_networks import Decoder, Encoder

    model = VAE(VAEConfig(input_dim=(784,), latent_dim=D, reconstruction_loss="bce"), Encoder(encode), Decoder(decode))
    model.eval()
    return torch.tensor(model.get_nll(x, n_samples=K, batch_size=1000))


def pyro() -> Tensor:
    """Its Trace_ELBO's sum over vectorised particles: RenyiELBO at alpha = 0 is L_K."""
    import pyro
    import pyro.distributions as dist
    from pyro.infer import RenyiELBO

    pyro.enable_validation(False)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), D), torch.ones(len(x), D)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mu, log_sigma = encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mu, log_sigma.exp()).to_event(1))

    bound = RenyiELBO(alpha=0, num_particles=K, vectorize_particles=True, max_plate_nesting=1)
    return torch.tensor([-bound.loss(model, guide, image) for image in x.split(1)])


def products() -> Tensor:
    """The matrix products of the decoder alone, in tiles of 512 rows: the floor."""
    rows = 512
    h = [torch.randn(rows, layer.in_features) for layer in decode[::2]]
    out = [torch.empty(rows, layer.out_features) for layer in decode[::2]]
    for _ in range(len(x) * K // rows):
        for layer, inputs, outputs in zip(decode[::2], h, out, strict=True):
            torch.mm(inputs, layer.weight.t(), out=outputs)
    return torch.zeros(())


WAYS = {
    "one image a call": one_image_a_call,
    "passes of 5,000 (vae_vampprior)": in_passes(K),
    "passes of 100 (scvi-tools)": in_passes(100),
    "one draw of all (yburda/iwae)": batched,
    "pythae get_nll": pythae,
    "pyro RenyiELBO": pyro,
    "matrix products": products,
}


@torch.no_grad()
def work() -> float | None:
    """The seconds are the parent's to take, and the answer its to compare."""
    found = WAYS[wants["way"]]().double().mean().item()
    return found if wants.get("answer") else None


serve(work)
