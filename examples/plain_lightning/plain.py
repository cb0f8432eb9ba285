import lightning.pytorch as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split


class Tones(pl.LightningDataModule):  # is a tone in noise above or below 1 kHz?
    def setup(self, stage: str) -> None:
        hz = torch.randint(100, 2000, (2000, 1))
        tones = (2 * torch.pi * hz * torch.arange(400) / 8000).sin() + torch.randn(2000, 400)
        self.parts = random_split(TensorDataset(tones.unsqueeze(1), (hz[:, 0] > 1000).long()), [1600, 200, 200])

    def train_dataloader(self):
        return DataLoader(self.parts[0], batch_size=32, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.parts[1], batch_size=200)

    def test_dataloader(self):
        return DataLoader(self.parts[2], batch_size=200)


class HighOrLow(pl.LightningModule):
    def __init__(self, lr: float = 0.01):
        super().__init__()
        self.lr = lr
        self.net = torch.nn.Sequential(
            torch.nn.Conv1d(1, 16, 25, stride=4),
            torch.nn.ReLU(),
            torch.nn.Conv1d(16, 16, 9),
            torch.nn.ReLU(),
            torch.nn.AdaptiveMaxPool1d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(16, 2),
        )

    def step(self, batch, split):
        logits = self.net(batch[0])
        self.log(f"{split}_acc", (logits.argmax(1) == batch[1]).float().mean())
        self.log(f"{split}_loss", loss := cross_entropy(logits, batch[1]))
        return loss

    def training_step(self, batch):
        return self.step(batch, "train")

    def validation_step(self, batch):
        self.step(batch, "val")

    def test_step(self, batch):
        self.step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.lr)
