"""A config's model section as a VAE: names become networks and families, the weights drawn from the seed."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from elbo_cli import config as configs
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError, choose
from elbo_cli.models.architecture import Architecture
from elbo_cli.models.chain import ChainPosterior, ChainPrior, Link
from elbo_cli.models.choices import Choices
from elbo_cli.models.likelihoods import LIKELIHOODS, Likelihood, Options
from elbo_cli.models.networks import INITS, KINDS, last_linear
from elbo_cli.models.perceptrons import Lowest
from elbo_cli.models.posteriors import POSTERIORS, DiagonalNormal, Posterior
from elbo_cli.models.priors import PRIORS
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import noise


def open_model(config: configs.Config, shape: tuple[int, ...], train: Split | None = None) -> VAE:
    """The VAE of a config, for data of one shape, with its weights at their start.

    Args:
        config: the whole config; its seed draws the weights.
        shape: of a datum.
        train: training data, whose mean the decoder starts from if the config wants that.
    """
    section, (first, *_) = config.model, config.model.layers
    options = Options(section.sigma or "shared", section.levels)
    likelihood = choose(LIKELIHOODS, section.likelihood, "likelihood")(shape, options)
    choices = _choices(config, shape, train)
    with noise(config.seed, "weights"):
        posterior = _posterior(section, choices)
        encoder = _encoder(section.encoder, shape, posterior.size, section.init)
        decoder = _decoder(section.decoder, first, (likelihood.outputs, *shape), section.init)
        prior = _prior(section, choices)
    if section.bias_from_data and train is not None:
        _start_at(decoder, likelihood, train.mean().to(torch.float32).cpu())
    deep = isinstance(prior, ChainPrior)
    return VAE(encoder, Lowest(decoder, section.layers) if deep else decoder, prior, posterior, likelihood)


def _choices(config: configs.Config, shape: tuple[int, ...], train: Split | None) -> Choices:
    section = config.model
    return Choices(
        rank=section.rank,
        components=section.components,
        pseudo_inputs=_pseudo_inputs(config, shape, train) if section.prior == "vamp" else None,
        flow=section.flow,
        transforms=section.flow_transforms,
        flow_hidden=section.flow_hidden,
    )


def _pseudo_inputs(config: configs.Config, shape: tuple[int, ...], train: Split | None) -> Tensor:
    """Where a VampPrior's pseudo-inputs begin: at as many training data; where none are at hand, at nothing yet.

    Raises:
        UserError: there are fewer data than that.
    """
    C = config.model.components
    if train is None:  # a checkpoint's weights will take their place
        return torch.zeros(C, *shape)
    if len(train) < C:
        raise UserError(
            f"model.components {C} pseudo-inputs start at training data, and there are {len(train)}. "
            f"Type model.components={len(train)} or less."
        )
    with noise(config.seed, "pseudo-inputs", device=train.device):
        return train.batch(torch.randperm(len(train))[:C]).to(torch.float32).cpu()


def _posterior(section: configs.Model, choices: Choices) -> Posterior:
    """q(z|x), or q(z1|x) and a link to each layer above it."""
    family = choose(POSTERIORS, section.posterior, "posterior")
    first, *above = (family(D, choices) for D in section.layers)
    return ChainPosterior(first, _links(section, [first, *above])) if above else first


def _prior(section: configs.Model, choices: Choices) -> nn.Module:
    """p(z), or p(zL) and a link to each layer below it."""
    last = choose(PRIORS, section.prior, "prior")(section.layers[-1], choices)
    if len(section.layers) == 1:
        return last
    below = [DiagonalNormal(D) for D in section.layers]
    return ChainPrior(last, _links(section, below[::-1]))


def _links(section: configs.Model, families: Sequence[Posterior]) -> list[Link]:
    """What leads from each layer to the next one drawn."""
    between = section.between
    assert between is not None, "the config insists on it where there are several layers"
    return [
        Link(_decoder(between, parent.D, (child.size,), section.init), child) for parent, child in pairwise(families)
    ]


def _architecture(section: configs.Network) -> Architecture:
    return Architecture(section.kind, section.hidden, section.channels, section.activation, section.norm)


def _encoder(section: configs.Network, shape: tuple[int, ...], outputs: int, init: str) -> nn.Module:
    net = choose(KINDS, section.kind, "network").encoder(shape, _architecture(section), outputs)
    choose(INITS, init, "initialisation")(net)
    return net


def _decoder(section: configs.Network, D: int, shape: tuple[int, ...], init: str) -> nn.Module:
    net = choose(KINDS, section.kind, "network").decoder(D, _architecture(section), shape)
    choose(INITS, init, "initialisation")(net)
    return net


def _start_at(decoder: nn.Module, likelihood: Likelihood, mean: Tensor) -> None:
    """Start the decoder's last bias where E[x] is near the training mean [*shape] (a convolution: the channel's)."""
    bias = last_linear(decoder).bias
    if bias is None:
        return
    whole = isinstance(last_linear(decoder), nn.Linear)
    start = likelihood.start(mean if whole else mean.mean((-2, -1), keepdim=True).expand_as(mean))
    if start is not None:
        with torch.no_grad():
            bias.copy_(start.flatten() if whole else start[..., 0, 0].flatten())
