"""Ordinary modules of Lightning's, as users bring them; copied into a folder of $SPEECHML_CONF by the tests."""

import random

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy


class Noisy(Dataset):
    """Items that are others each time: drawn by the generators of Python, numpy and torch."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        shift = random.random() + float(np.random.rand()) + float(torch.rand(()))
        return torch.full((4,), float(item % 2)) + 0.3 * torch.randn(4) + 0.1 * shift, item % 2


class Data(pl.LightningDataModule):
    def __init__(self, count: int = 40, batch_size: int = 8, workers: int = 0):
        super().__init__()
        self.count, self.batch_size, self.workers = count, batch_size, workers

    def setup(self, stage):
        self.parts = random_split(Noisy(self.count), [self.count // 2, self.count // 4, self.count // 4])

    def train_dataloader(self):
        return DataLoader(self.parts[0], self.batch_size, shuffle=True, num_workers=self.workers)

    def val_dataloader(self):
        return DataLoader(self.parts[1], self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.parts[2], self.batch_size)


class Fixed(pl.LightningDataModule):
    """The same items each time."""

    def setup(self, stage):
        x = torch.randn(40, 4)
        self.parts = random_split(TensorDataset(x, (x.sum(1) > 0).long()), [20, 10, 10])

    def train_dataloader(self):
        return DataLoader(self.parts[0], 8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.parts[1], 10)

    def test_dataloader(self):
        return DataLoader(self.parts[2], 10)


class OnlyTraining(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(Noisy(16), 8)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.randn(4), item % 2) for item in range(16)])


class Streaming(Data):
    def train_dataloader(self):
        return DataLoader(Stream(), 8)


class Empty(Data):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.zeros(0, 4)), 8)


class Failing(Data):
    def setup(self, stage):
        raise FileNotFoundError("no such folder: recordings") if self.count < 0 else ValueError("bad recordings")


class Net(pl.LightningModule):
    def __init__(self, lr: float = 0.05):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)
        )
        self.accuracies = torch.nn.ModuleDict(
            {f"{split}_acc": MulticlassAccuracy(2) for split in ("train", "val", "test")}
        )

    def step(self, batch, split):
        logits = self.net(batch[0])
        loss = torch.nn.functional.cross_entropy(logits, batch[1])
        self.log(f"{split}_loss", loss, on_epoch=True)
        accuracy = self.accuracies[f"{split}_acc"]
        accuracy(logits, batch[1])
        self.log(f"{split}_acc", accuracy, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")

    def validation_step(self, batch, batch_idx):
        self.step(batch, "val")

    def test_step(self, batch, batch_idx):
        self.step(batch, "test")

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)]


class Silent(Net):
    """Logs nothing."""

    def log(self, *_, **__):
        pass


class NoTest(Net):
    test_step = pl.LightningModule.test_step


class NoTraining(pl.LightningModule):
    def configure_optimizers(self):
        return None


class NoOptimizer(Net):
    configure_optimizers = pl.LightningModule.configure_optimizers


class Fails(Net):
    def training_step(self, batch, batch_idx):
        return self.net(batch[0][:, :3]).sum()


class Given(Net):
    """A network and what makes the optimiser are given, as Hydra's templates do it."""

    def __init__(self, net, optimizer):
        super().__init__()
        self.net, self.make = net, optimizer

    def configure_optimizers(self):
        return self.make(self.parameters())


class KeepsCode(Net):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["mine"] = np.random.default_rng()


class KeepsNumbers(Net):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["mine"] = {"seen": 3}

    def on_load_checkpoint(self, checkpoint):
        self.seen = checkpoint["mine"]["seen"]


class Manual(Net):
    """Two optimisers, stepped by hand."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.step(batch, "train"))
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), 0.01) for layer in (self.net[0], self.net[3])]


class Sized(Fixed):
    def __init__(self, batch: int = 10):
        super().__init__()
        self.batch = batch

    def test_dataloader(self):
        return DataLoader(self.parts[2], self.batch)


class TornDown(Data):
    """Frees its data when a stage is over."""

    def teardown(self, stage):
        self.parts = None


class Combined(Data):
    """Keeps its loaders."""

    def train_dataloader(self):
        if not hasattr(self, "kept"):
            self.kept = CombinedLoader(super().train_dataloader(), "min_size")
        return self.kept


class Late(Net):
    """Makes its layers where Lightning's strategies ask for them."""

    def __init__(self):
        super().__init__()
        self.net = None

    def configure_model(self):
        if self.net is None:
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))


class NoNumber(Net):
    def training_step(self, batch, batch_idx):
        return self.net(batch[0])
