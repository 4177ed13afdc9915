"""pythae's own trainer, epoch by epoch, with its VAE, its loss and torch's Adam."""

import tempfile

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor

from benchmarks.peers.networks import PIXELS, D, decoder, encoder, images, settle
from benchmarks.worker import serve, wanted


class Encoder(BaseEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.latent_dim, self.net = D, encoder()

    def forward(self, x: Tensor) -> ModelOutput:
        mu, log_variance = self.net(x).chunk(2, -1)
        return ModelOutput(embedding=mu, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.net = decoder()

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z).sigmoid())


wants = wanted()
settle(wants)
x = images(wants)
data = BaseDataset(x, torch.zeros(len(x)))
model = VAE(VAEConfig(input_dim=(PIXELS,), latent_dim=D, reconstruction_loss="bce"), Encoder(), Decoder())
settings = BaseTrainerConfig(
    output_dir=tempfile.mkdtemp(),
    num_epochs=1000,
    per_device_train_batch_size=wants["batch"],
    learning_rate=1e-3,
    no_cuda=True,
)
trainer = BaseTrainer(model=model, train_dataset=data, training_config=settings)
trainer.prepare_training()
epochs = iter(range(1, 1000))
serve(lambda: trainer.train_step(next(epochs)) and None)
