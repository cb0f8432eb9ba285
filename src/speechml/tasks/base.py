"""What all tasks share: optimiser and schedule, randomness by epoch, scores item by item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from speechml.signal.random import key
from speechml.tasks.optimizer import build_optimization

if TYPE_CHECKING:
    from speechml.tasks.optimizer import Optimization


class Task(pl.LightningModule):
    """Base of the tasks; `net` is the network.

    Args:
        optimizer, scheduler: config nodes; needed for training only.
    """

    headline_scores: tuple[str, ...] = ()  # by which runs are compared in TensorBoard
    net: Any

    def __init__(self, optimizer: dict[str, Any] | None = None, scheduler: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.optimizer_node, self.scheduler_node = optimizer or {}, scheduler
        self._optimization: Optimization | None = None  # built ahead of the training that takes it
        self.items: dict[int, dict[str, Any]] = {}  # scores of each item of the part being scored
        self.scores: dict[str, float] = {}  # what the last test gave
        self.losses: dict[int, tuple[int, dict[str, Tensor]]] = {}  # of this epoch, by batch: its items, what is logged

    @classmethod
    def check_data(cls, data: Any) -> None:
        """Refuse a data module of another kind than the task learns from, before anything is built.

        Raises:
            UserError: it is of another kind.
        """
        raise TypeError(f"{cls.__name__} does not say whether it learns from {type(data).__name__}")

    def setup_for(self, data: Any) -> None:
        """Agree with the data module on what a training item is.

        Raises:
            UserError: the task cannot learn from such data.
        """
        raise TypeError(f"{type(self).__name__} does not say whether it learns from {type(data).__name__}")

    def prepare(self, data: Any) -> None:
        """Fit to the training part, before the first step, what is not learned; nothing by default."""

    def training_loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a training batch and what else is logged of it, by its name."""
        raise TypeError(f"{type(self).__name__} has no loss for {type(batch).__name__}")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, others = self.training_loss(batch)
        count = len(batch.indices)
        # An optimiser that computes a batch several times leaves the values of the last.
        # Copied: the value of a mean may be a view that keeps a tensor of the batch's size alive.
        values = {name: value.detach().clone() for name, value in {"loss": loss, **others}.items()}
        self.losses[batch_idx] = count, values
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's signature)
        if not self.trainer.is_last_batch:
            return
        # Logged once an epoch: Lightning's logging of a step costs more than a step of a small network.
        items = sum(count for count, _ in self.losses.values())
        names = next(iter(self.losses.values()))[1]
        sums = {name: sum(count * values[name] for count, values in self.losses.values()) for name in names}
        means = {f"train/{name}": total / items for name, total in sums.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=items, sync_dist=True)

    def prediction_columns(self) -> dict[str, np.ndarray]:
        """What predictions.npz holds beside the rows of items."""
        return {}

    def describe(self) -> str:
        """One sentence about the network, for the person who trains it."""
        return f"{type(self.net).__name__}: {sum(p.numel() for p in self.parameters()):,} parameters"

    def build_optimization(self, steps: int) -> Optimization:
        """Build optimiser and schedule of a training of so many optimiser steps, and keep them until it begins.

        Raises:
            UserError: no such class, or one that refuses its arguments.
        """
        built = build_optimization(self.parameters(), self.optimizer_node, self.scheduler_node, steps)
        self._optimization = built
        return built

    def configure_optimizers(self) -> Optimization:
        built = self._optimization or self.build_optimization(int(self.trainer.estimated_stepping_batches))
        self._optimization = None  # a further training has another length
        return built

    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        self.prepare(self._data())  # the same again when a run is resumed, whose checkpoint then has the last word

    def on_train_epoch_start(self) -> None:
        self.losses = {}
        # Dropout draws from torch's one generator: set by the epoch, a resumed run draws as one that never stopped.
        torch.manual_seed(key("epoch", self._data().seed, self.trainer.current_epoch, self.trainer.global_rank))

    def on_validation_epoch_start(self) -> None:
        self.items = {}

    def on_test_epoch_start(self) -> None:
        self.items = {}


def gather_from_ranks(items: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The items of every rank together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return items
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, items)
    return {index: scores for share in shares for index, scores in share.items()}
