"""Scoring without Lightning's loops, which take longer than to score a small network; the numbers are the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from speechml.contracts import IndexBatch
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.lightning_compat import begin_stage, end_stage

if TYPE_CHECKING:
    from speechml.data.base import BaseDataModule, Batches, Corpus
    from speechml.engine.parts import Parts
    from speechml.tasks.base import Task


def score_split(task: Task[Any, Any], data: BaseDataModule[Corpus], split: str, epoch: int = 0) -> dict[str, float]:
    """What a task scores on `val` or `test`; its items are those of the split."""
    batches: Batches = data.val_dataloader() if split == "val" else data.test_dataloader()
    is_training = task.training
    task.eval()
    with torch.no_grad():
        if split == "val":
            task.on_validation_epoch_start()
        else:
            task.on_test_epoch_start()
        step = task.validation_step if split == "val" else task.test_step
        for number, items in enumerate(batches.groups(epoch)):
            step(data.load_batch(IndexBatch(split, epoch, items)), number)
        scores = task.end_validation() if split == "val" else task.end_test()
    task.train(is_training)
    return scores


def _load(parts: Parts, weights: str | None) -> None:
    if weights:
        cast("torch.nn.Module", parts.task).load_state_dict(read_checkpoint(Path(weights))["state_dict"])


def validate_light(parts: Parts, weights: str | None) -> dict[str, float]:
    """The validation scores of a checkpoint, or of the weights that the network has."""
    _load(parts, weights)
    return score_split(cast("Task[Any, Any]", parts.task), cast("BaseDataModule[Corpus]", parts.data), "val")


def test_light(parts: Parts, weights: str | None) -> None:
    """Test a checkpoint, or the weights that the network has; callbacks draw, and loggers learn the scores."""
    trainer, task = parts.trainer, cast("Task[Any, Any]", parts.task)
    _load(parts, weights)
    begin_stage(trainer, "test")
    scores = score_split(task, cast("BaseDataModule[Corpus]", parts.data), "test")
    for logger in trainer.loggers:
        logger.log_metrics({**scores, "epoch": trainer.current_epoch}, trainer.global_step)
    for one in trainer.callbacks:  # type: ignore[attr-defined] # Lightning sets it, but does not declare it
        one.on_test_end(trainer, task)
    end_stage(trainer)
