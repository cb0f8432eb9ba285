"""Early stopping that waits until the learning rate has risen."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks

from speechml.tasks.training_length import count_steps


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, which looks at no epoch before a share of the training is over.

    While a one-cycle schedule raises the rate, the validation loss of few clips rises and falls at random. On the whole of
    Speech Commands this changes nothing: the R torch book's three runs went on far beyond.

    Args:
        after: share of the steps that a whole training would take.
        options: of Lightning's class: `monitor`, `patience` and others.
    """

    def __init__(self, after: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= after <= 1:
            raise ValueError(f"after is {after}; it is a share of the training, from 0 to 1")
        self.after = after

    def _begun(self, trainer: pl.Trainer) -> bool:
        steps = count_steps(trainer, int(trainer.num_training_batches)) if self.after else 0
        return trainer.global_step >= self.after * steps

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._begun(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._begun(trainer):
            super().on_validation_end(trainer, pl_module)
