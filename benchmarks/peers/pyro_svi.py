"""pyro's SVI as its VAE tutorial has it, with the loss that is asked for."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam
from torch import Tensor, nn

from benchmarks.peers.networks import D, decoder, encoder, images, settle
from benchmarks.worker import serve, wanted


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), D), torch.ones(len(x), D)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            mu, log_sigma = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mu, log_sigma.exp()).to_event(1))


wants = wanted()
settle(wants)
pyro.enable_validation(False)
x, vae = images(wants), VAE()
loss = {"Trace_ELBO": Trace_ELBO, "TraceMeanField_ELBO": TraceMeanField_ELBO}[wants["loss"]]()
svi = SVI(vae.model, vae.guide, Adam({"lr": 1e-3}), loss=loss)


def epoch() -> None:
    for index in torch.randperm(len(x)).split(wants["batch"]):
        svi.step(x[index])


serve(epoch)
