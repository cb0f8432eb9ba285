"""The weights of the best validation of a member, kept in memory until its training is saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.engine.lightning_compat import set_progress
from speechml.engine.saving import Best


class _Kept(NamedTuple):
    """Weights, and when they were validated."""

    weights: Tensor
    epoch: int
    batches: int
    steps: int


class BestWeights:
    """What Lightning's ModelCheckpoint does at every validation, the file being written when the run is saved.

    Args:
        best: the callback, whose state says what is best.
        trainer: of the run.
    """

    def __init__(self, best: Best, trainer: pl.Trainer) -> None:
        self.best, self.trainer = best, trainer
        self.path = str(Path(str(best.dirpath)) / "best.ckpt")
        self.kept: _Kept | None = None  # what the file has yet to hold
        self.is_checked = False

    def offer(self, weights: Tensor, epoch: int, batches: int, steps: int) -> None:
        """Keep the weights of a validation whose scores the trainer knows, where they are the best so far."""
        best, trainer = self.best, self.trainer
        if not self.is_checked:
            best.check_goals(trainer)
            self.is_checked = True
        score = trainer.callback_metrics[str(best.monitor)]
        value, before = float(score), best.best_model_score
        if before is not None and not (value < float(before) if best.mode == "min" else value > float(before)):
            return
        if math.isnan(value):
            score = torch.tensor(math.inf if best.mode == "min" else -math.inf)
        best.current_score = best.best_model_score = best.kth_value = score
        best.best_model_path = best.kth_best_model_path = self.path
        best.best_k_models = {self.path: score}
        self.kept = _Kept(weights.clone(), epoch, batches, steps)

    def write(self) -> Tensor | None:
        """Prepare for writing best.ckpt: the counters are set to when it was; its weights, None where it is written."""
        if self.kept is None:
            return None
        kept, self.kept = self.kept, None
        set_progress(self.trainer, kept.epoch, kept.batches, kept.steps)
        return kept.weights
