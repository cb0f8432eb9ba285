"""When checkpoints are written: `last` so that a run can go on at the very step, `best` to be tested and used."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from speechml.engine.checkpoint import nonfinite_names
from speechml.engine.distributed import check_same_config
from speechml.engine.lightning_compat import WeightsCheckpoint
from speechml.engine.resume import capture, check_rank_count, restore, restore_finished
from speechml.engine.signals import NOTHING, SAVE, STOP, Agreement, Stop, Stopped
from speechml.errors import UserError


class Saving(pl.Callback):
    """Writes `checkpoints/last.ckpt` between two steps, and continues a run from it; the first of the callbacks.

    Args:
        folder: of the run.
        record: what every checkpoint says of itself, under "speechml".
        every_n_steps: steps between two savings; null: only time counts.
        every_s: seconds between two savings; null: only steps count.
        stop: whether a signal has asked for a stop.
    """

    def __init__(
        self, folder: Path, record: dict[str, Any], every_n_steps: int | None, every_s: float | None, stop: Stop
    ) -> None:
        self.path = folder / "checkpoints" / "last.ckpt"
        self.record, self.stop = record, stop
        self.every_n_steps, self.every_s = every_n_steps, every_s
        self.agreement = Agreement()
        self.saved: dict[str, Any] | None = None  # what is to be put back
        self.state: dict[str, Any] | None = None  # what is being written
        self.first_step = self.last_step = 0  # of this process, and that was saved
        self.before_s = 0.0  # of training in the sessions before this one
        self.started = self.last_s = time.monotonic()

    @property
    def training_s(self) -> float:
        """Seconds of training so far that were not lost, of all sessions."""
        return self.before_s + time.monotonic() - self.started

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if trainer.state.fn == "fit":
            self.saved = {**checkpoint["resume"], "loops": checkpoint["loops"]["fit_loop"]}
            self.first_step = checkpoint["global_step"]
            self.before_s = self.saved["training_s"]

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        checkpoint["speechml"] = self.record
        if self.state is not None:
            checkpoint["resume"] = self.state

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        check_same_config(self.record["config"])
        self.agreement.open()
        self.started = time.monotonic()
        if self.saved:
            check_rank_count(self.saved, trainer.world_size)
            if self.saved["finished"]:  # Lightning finds no epoch left and trains nothing
                restore_finished(trainer, self.saved)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.stop.listen()
        self.last_step = trainer.global_step
        self.last_s = time.monotonic()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        if self.saved:
            restore(trainer, pl_module, self.saved)
            self.saved = None
        if batch_idx % trainer.accumulate_grad_batches:  # gradients half accumulated are in no checkpoint
            return
        stops = self.stop.is_due(trainer.global_step - self.first_step)
        decided = self.agreement.reach(STOP if stops else SAVE if self._due(trainer) else NOTHING)
        if decided != NOTHING and not trainer.fast_dev_run:
            self.save(trainer, pl_module)
        if decided == STOP:
            raise Stopped(self.stop.asked_by or "another rank", trainer.global_step)

    def _due(self, trainer: pl.Trainer) -> bool:
        if trainer.global_step == self.last_step or not trainer.is_global_zero:  # one clock decides for all
            return False
        if self.every_n_steps and trainer.global_step - self.last_step >= self.every_n_steps:
            return True
        return self.every_s is not None and time.monotonic() - self.last_s >= self.every_s

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.agreement.close()
        if not trainer.fast_dev_run:
            self.save(trainer, pl_module, finished=True)

    def save(self, trainer: Any, module: Any, finished: bool = False) -> None:
        """Write `last.ckpt`; to be called by all ranks together."""
        check_finite(module, trainer.global_step)
        self.state = {**capture(trainer, module, finished), "training_s": self.training_s}
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self.state = None
        self.last_step, self.last_s = trainer.global_step, time.monotonic()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.stop.listen()

    def on_test_batch_start(self, trainer: Any, *_: Any) -> None:
        # Ranks have unequal numbers of test batches and could not agree on one of them.
        if self.stop.is_due(trainer.global_step - self.first_step) and trainer.world_size == 1:
            raise Stopped(self.stop.asked_by, None)


class Best(WeightsCheckpoint):
    """Writes `checkpoints/best.ckpt`, the weights of the best validation and what is needed to rebuild their network.

    Args:
        folder: of the run.
        record: as of `Saving`.
        monitor: name of the score.
        mode: min or max.
    """

    def __init__(self, folder: Path, record: dict[str, Any], monitor: str, mode: str) -> None:
        super().__init__(
            dirpath=folder / "checkpoints", filename="best", monitor=monitor, mode=mode, auto_insert_metric_name=False,
            enable_version_counter=False,
        )  # fmt: skip
        self.record = record

    def content(self, trainer: pl.Trainer) -> dict[str, Any]:
        module = trainer.lightning_module
        check_finite(module, trainer.global_step)
        return {
            "epoch": trainer.current_epoch, "global_step": trainer.global_step,
            "pytorch-lightning_version": pl.__version__, "speechml": self.record,
            "state_dict": trainer.strategy.lightning_module_state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's, which forgets the best score where a run was moved, and the last one always."""
        here = {
            key: str(Path(str(self.dirpath)) / Path(value).name) if value else value
            for key, value in state_dict.items() if key.endswith("_path")
        }  # fmt: skip
        kept = {str(Path(str(self.dirpath)) / Path(path).name): v for path, v in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **here, "best_k_models": kept, "dirpath": self.dirpath})
        self.current_score = state_dict["current_score"]


def check_finite(module: torch.nn.Module, step: int) -> None:
    """Refuse to keep weights that are NaN or infinite: the checkpoint before them is worth more.

    Raises:
        UserError: naming the first of them.
    """
    for name in nonfinite_names(module.state_dict())[:1]:
        raise UserError(
            f"after step {step} the weights are no longer finite ({name}): the training diverged; lower "
            "optimizer.lr, or set trainer.gradient_clip_val (the checkpoints before are kept)"
        )
