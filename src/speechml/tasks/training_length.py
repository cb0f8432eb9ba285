"""How long a training is: its epochs, batches and optimiser steps, known before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from speechml.contracts import Config
from speechml.errors import UserError


def count_batches(loaders: object) -> int | None:
    """Batches of an epoch, of several loaders those of the longest, as Lightning takes them; None where they do not say."""
    if isinstance(loaders, (dict, list, tuple)):
        counts = [count_batches(one) for one in (loaders.values() if isinstance(loaders, dict) else loaders)]
        known = [count for count in counts if count is not None]
        return max(known, default=0) if len(known) == len(counts) else None
    try:
        return len(loaders)  # type: ignore[arg-type] # which it may not say
    except (TypeError, NotImplementedError, RuntimeError):
        return None


def count_epochs(node: Config, batches: int | None) -> Config:
    """How long a training is, as Lightning's Trainer is to be told of it.

    Args:
        node: keys of the trainer.
        batches: of an epoch without limits; None where that is not known, and steps are counted as they come.

    Raises:
        UserError: an epoch would have no batch, or no validation, or `min_epochs` can never be reached.
    """
    epochs, most, every = node["max_epochs"], node["max_steps"], node.get("val_check_interval")
    if batches is None:
        return {}
    used = limit_batches(batches, node.get("overfit_batches") or node.get("limit_train_batches"))
    if most > 0:
        # Rounded up to whole epochs, so that each ends with a validation and a checkpoint.
        steps = needed = 0
        while steps < most and needed != epochs:
            count = accumulated_batches(node.get("callbacks", ()), node.get("accumulate_grad_batches", 1), needed)
            steps, needed = steps + math.ceil(max(used, 1) / count), needed + 1
        epochs, most = needed, -1
        if (least := node.get("min_epochs") or 0) > epochs:
            what = f"trainer.min_epochs is {least}, and trainer.max_steps ends the training after {epochs} epochs"
            raise UserError(what, fix="raise trainer.max_steps")
    if isinstance(every, int) and every > used and node["check_val_every_n_epoch"]:
        what = f"trainer.val_check_interval is {every}, and an epoch has {used} batches: none would be validated"
        raise UserError(what, fix="lower it, or leave it out")
    # The last epoch has to end with a validation and a checkpoint, so their period divides the number of epochs.
    period = largest_divisor(epochs, node["check_val_every_n_epoch"] or 1)
    across = node["check_val_every_n_epoch"] is None and isinstance(every, int)  # counted without regard to epochs
    return {"max_epochs": epochs, "max_steps": most, "check_val_every_n_epoch": None if across else period}


class Loaders(Protocol):
    """What gives batches of each split."""

    def train_dataloader(self) -> object:
        """Of the training split."""

    def val_dataloader(self) -> object:
        """Of the validation split."""

    def test_dataloader(self) -> object:
        """Of the test split."""


def check_limits(trainer: pl.Trainer, data: Loaders, test: bool) -> None:
    """Raises UserError where a share of the batches is less than one of them."""
    loaders = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}
    for split, loader in loaders.items():
        share = getattr(trainer, f"limit_{split}_batches")
        if (
            isinstance(share, float)
            and (split != "test" or test)
            and 0 < (count := count_batches(loader()) or 0) * share < 1
        ):
            what = f"trainer.limit_{split}_batches is {share}, which is less than one of {count} batches"
            raise UserError(what, fix="give a number of batches, as 1")


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of `number` that is at most `at_most`, which it is where `number` is -1, without an end."""
    return max(d for d in range(1, min(at_most, number) + 1) if number % d == 0) if number > 0 else at_most


def limit_batches(batches: int, limit: float | None) -> int:
    """How many of the batches are used, where the limit is a number of them (an integer), a share, or none."""
    return batches if limit is None else min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def accumulated_batches(callbacks: Iterable[pl.Callback], usual: int, epoch: int) -> int:
    """The batches whose gradients are added up for a step of an epoch, where a callback may know better than the `usual`."""
    for callback in callbacks:
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return usual


def training_steps(trainer: pl.Trainer, batches: int) -> int:
    """Optimiser steps of a whole training with so many `batches` an epoch on this rank, of which the trainer may use fewer.

    Lightning's `estimated_stepping_batches`, known before the training begins, and with a number of accumulated batches
    that depends on the epoch.
    """
    return count_steps(trainer, limit_batches(batches, trainer.limit_train_batches))


def count_steps(trainer: pl.Trainer, used: int) -> int:
    """As `training_steps`, of the batches that an epoch uses, as `trainer.num_training_batches`."""
    callbacks, usual = trainer.callbacks, trainer.accumulate_grad_batches  # type: ignore[attr-defined] # of a trainer
    epochs = range(max(trainer.max_epochs or 1, 1))
    steps = sum(math.ceil(used / accumulated_batches(callbacks, usual, epoch)) for epoch in epochs)
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
