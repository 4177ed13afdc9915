"""Our networks in pythae's clothes."""

from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

from benchmarks.peers.networks import D


class Encoder(BaseEncoder):
    """pythae asks for a log variance."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.latent_dim, self.net = D, net

    def forward(self, x: Tensor) -> ModelOutput:
        mu, log_sigma = self.net(x).chunk(2, -1)
        return ModelOutput(embedding=mu, log_covariance=2 * log_sigma)


class Decoder(BaseDecoder):
    """pythae asks for probabilities."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z).sigmoid())
