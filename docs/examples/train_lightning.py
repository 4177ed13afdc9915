"""Train the LightningModule of lightning_vae.py on a binary array and save lightning.ckpt."""

import sys

import lightning
import numpy as np
import torch
from lightning_vae import LightningVAE
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    lightning.seed_everything(0)
    torch.set_num_threads(1)
    x = torch.from_numpy(np.load(sys.argv[1])).float()
    trainer = lightning.Trainer(
        max_epochs=30,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LightningVAE(), DataLoader(TensorDataset(x), 50, shuffle=True))
    trainer.save_checkpoint("lightning.ckpt")
    print(f"loss of the last batch {trainer.callback_metrics['loss']:.2f}")


if __name__ == "__main__":
    main()
