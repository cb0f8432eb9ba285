"""When checkpoints are written: `last` so that a run can go on at the very step, `best` to be tested and used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from speechml.contracts import Config, standard_name
from speechml.engine.checkpoint import AtomicIO, Weights, changed_weights, nonfinite_names, other_weights, weights_of
from speechml.engine.lightning_compat import repeat_epoch_start
from speechml.engine.resume import State, capture, capture_training, read_settings
from speechml.engine.signals import Stop, Stopped
from speechml.errors import UserError

if TYPE_CHECKING:
    from speechml.engine.further_loggers import Journal
    from speechml.engine.ranks import Agreement

NOTHING, SAVE, STOP = range(3)  # what is to be done before the next step; of several ranks' wishes the greatest counts
EPOCHS_S = 5.0  # that may be lost beside the epoch under way, where it is saved between two epochs
CHECKED = 32  # batches, after which weights are looked at where looking at each loss would cost
DIVERGED = "lower optimizer.lr, or set trainer.gradient_clip_val (the checkpoints before are kept)"


class Saving(pl.Callback):
    """Writes `checkpoints/last.ckpt` between two steps, and continues a run from it; the first of the callbacks.

    Args:
        folder: of the run.
        config: of the run; equal on all ranks.
        stop: whether a signal has asked for a stop.
        by_epoch: whether it is saved between two epochs only, since what happens within one is a module's of no contract.
    """

    def __init__(self, folder: Path, config: Config, stop: Stop, by_epoch: bool = False) -> None:
        self.path = folder / "checkpoints" / "last.ckpt"
        self.config, self.stop, self.by_epoch = config, stop, by_epoch
        self.journal: Journal | None = None  # of trackers
        self.agreement: Agreement | None = None  # of several processes
        self.to_restore: State | None = None
        self.to_write: State | None = None
        self.further: State = {}  # what an engine adds to it
        self.at_start: State = {}  # settings, see `read_settings`
        self.validated: Weights = {}  # those of the last validation
        self.meant: list[str] = []  # weights that are not finite when the fit begins, as the minus infinity of a mask
        self.before_step: list[str] = []  # weights that were not finite when a loss was no longer
        self.trained: Weights = {}  # those that training ended with, before other callbacks
        self.first_step = self.last_step = 0  # of this process, and that was saved
        self.before_s = 0.0  # of training in the sessions before this one
        self.started = self.last_s = time.monotonic()

    @property
    def training_s(self) -> float:
        """Seconds of training so far that were not lost, of all sessions."""
        return self.before_s + time.monotonic() - self.started

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: State) -> None:  # noqa: ARG002
        if trainer.state.fn == "fit":
            self.to_restore = {**checkpoint["resume"], "loops": checkpoint["loops"]["fit_loop"]}
            self.first_step = checkpoint["global_step"]
            self.before_s = self.to_restore["training_s"]

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: State) -> None:  # noqa: ARG002
        if self.to_write is not None:
            checkpoint["resume"] = self.to_write

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            from speechml.engine.ranks import Agreement, check_same_config

            check_same_config(self.config)
            self.agreement = Agreement()
        self.started = time.monotonic()
        self.meant = nonfinite_names(pl_module.state_dict())
        self.at_start = read_settings(trainer)
        if self.to_restore:
            from speechml.engine.restore import check_rank_count, restore_finished

            check_rank_count(self.to_restore, trainer.world_size)
            if self.to_restore["finished"]:  # Lightning finds no epoch left and trains nothing
                restore_finished(trainer, self.to_restore)
                self._restore_settings(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop.listen()
        if self.by_epoch:
            from speechml.engine.plain_task import check_own_state

            check_own_state(trainer, pl_module)
        self.last_step = trainer.global_step
        self.last_s = time.monotonic()
        if self.to_restore and self.to_restore["finished"]:  # of a shorter training, which ended with an epoch
            from speechml.engine.restore import set_random_states

            set_random_states(self.to_restore["ranks"][trainer.global_rank]["random"], pl_module.device)
            self.to_restore = None
        if self.to_restore:
            self.to_restore["training"] = capture_training(trainer)
            repeat_epoch_start(trainer)  # what callbacks keep in no state, their hooks set

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if self.to_restore:
            self._restore_settings(trainer)  # before the first batch is loaded

    def _restore_settings(self, trainer: pl.Trainer) -> None:
        if self.to_restore and "settings" in self.to_restore:  # older checkpoints have none
            from speechml.engine.restore import write_settings

            write_settings(trainer, {**self.at_start, **self.to_restore["settings"]})

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int  # noqa: ARG002
    ) -> None:  # fmt: skip
        if self.to_restore:
            from speechml.engine.restore import restore

            restore(trainer, pl_module, self.to_restore)
            self._restore_settings(trainer)
            self.to_restore = None
        if batch_idx % trainer.accumulate_grad_batches:  # gradients half accumulated are in no checkpoint
            return
        stops = self.stop.is_due(trainer.global_step - self.first_step)
        is_possible = batch_idx == 0 or not self.by_epoch
        decision = STOP if stops else SAVE if is_possible and self._is_due(trainer) else NOTHING
        if self.agreement:
            decision = self.agreement.reach(decision)
        if decision != NOTHING and is_possible:
            self.save(trainer, pl_module, final=decision == STOP)
        if decision == STOP:
            raise Stopped(self.stop.asked_by or "another rank", self.last_step)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:  # noqa: ARG002
        if loss.numel() != 1:
            what = (
                f"training_step of {type(pl_module).__name__} gives a loss of shape {tuple(loss.shape)}, not one number"
            )
            raise UserError(what, fix="let it return the mean")
        if pl_module.device.type == "cpu" and not bool(torch.isfinite(loss)):
            self.before_step = self._spoilt(pl_module)

    def on_train_batch_end(  # type: ignore[override] # what it is of a task
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: dict[str, Tensor] | None, *_: object
    ) -> None:  # fmt: skip
        # Asking a GPU at every step would let it wait; of several ranks, one alone must not end.
        if self.agreement or str(trainer.precision) == "16-mixed" or pl_module.device.type != "cpu":
            if trainer.fit_loop.total_batch_idx % CHECKED == 0:
                self.check_finite(trainer, pl_module)
        elif outputs and "loss" in outputs and not bool(torch.isfinite(outputs["loss"])):
            _refuse(self.before_step, trainer.global_step - 1)
            begun = trainer.fit_loop.total_batch_idx > 0
            raise UserError(
                f"the training diverged: the loss of batch {trainer.fit_loop.total_batch_idx + 1} is {float(outputs['loss'])}",
                fix=DIVERGED if begun else "look at the data and the loss: nothing had been learned yet",
            )

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        # Here, since what averages weights puts its own into the network for a validation only.
        self.validated = weights_of(pl_module)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if trainer.global_step == self.last_step or not trainer.is_global_zero:  # one clock decides for all
            return False
        steps, seconds = (self.config["checkpoint"][key] for key in ("every_n_steps", "every_s"))
        if self.by_epoch:
            seconds = min(EPOCHS_S, seconds or EPOCHS_S)
        if steps and trainer.global_step - self.last_step >= steps:
            return True
        return seconds is not None and time.monotonic() - self.last_s >= seconds

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if self.agreement:
            self.agreement.close()
        self.trained = weights_of(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.check_finite(trainer, pl_module)  # before `Best` keeps them

    def check_finite(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Raises UserError where weights have become NaN or infinite: the checkpoint before them is worth more."""
        _refuse(self._spoilt(module), trainer.global_step)

    def _spoilt(self, module: pl.LightningModule) -> list[str]:
        return [name for name in nonfinite_names(module.state_dict()) if name not in self.meant]

    def save(self, trainer: pl.Trainer, task: pl.LightningModule, final: bool = True, finished: bool = False) -> None:
        """Write `last.ckpt`, but for a trial run of a few batches; to be called by all ranks together.

        Args:
            final: whether it must succeed; else a first failure is a warning, and the next saving makes up for it.
            finished: whether the training is over.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined] # of a trainer's flags
            return
        self.check_finite(trainer, task)
        self.to_write = capture(trainer, task, finished, self.at_start) | {"training_s": self.training_s} | self.further
        if isinstance(checkpoints := trainer.strategy.checkpoint_io, AtomicIO):
            checkpoints.is_final = final
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self.to_write = None
        if self.journal and trainer.is_global_zero and not getattr(checkpoints, "unsaved", None):
            self.journal.cover()
        self.last_step, self.last_s = trainer.global_step, time.monotonic()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.stop.listen()

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.state.fn == "validate":  # of the weights that are kept; a training stops between two steps
            self.on_test_batch_start(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.stop.listen()

    def on_test_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        # Ranks have unequal numbers of test batches and could not agree on one of them.
        if self.stop.is_due(trainer.global_step - self.first_step) and trainer.world_size == 1:
            raise Stopped(self.stop.asked_by, None)


class Best(ModelCheckpoint):
    """Writes `checkpoints/best.ckpt`: the weights of the best validation, without what a training goes on with.

    Lightning calls it after all other callbacks: the last checkpoint has what they leave when training ends.

    Args:
        folder: of the run.
        monitor, mode: name of the score, and whether min or max is best.
        saving: knows which weights were validated.
        goals: scores that something goes by, by its key.
    """

    def __init__(self, folder: Path, monitor: str, mode: str, saving: Saving, goals: Mapping[str, str]) -> None:
        super().__init__(
            dirpath=folder / "checkpoints", filename="best", monitor=monitor, mode=mode, auto_insert_metric_name=False,
            save_weights_only=True, enable_version_counter=False, save_on_train_epoch_end=False,
        )  # fmt: skip
        self.saving, self.goals, self.configured = saving, goals, monitor
        self.ends_unvalidated = False  # whether a callback has put in weights in the end that no validation has seen

    @property
    def state_key(self) -> str:
        """Lightning's, by the name of the config: a module may log the score as `val_loss`."""
        monitor, self.monitor = self.monitor, self.configured
        try:
            return super().state_key
        finally:
            self.monitor = monitor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.check_goals(trainer)
        with other_weights(pl_module, self.saving.validated):
            super().on_validation_end(trainer, pl_module)

    def check_goals(self, trainer: pl.Trainer) -> None:
        """Know the monitored score by the name that it is logged by. Raises UserError where something goes by no score."""
        logged = {standard_name(name): name for name in trainer.callback_metrics}
        names = sorted(name for name in logged if name.startswith("val/"))
        for key, score in self.goals.items():
            if not score.startswith("val") or standard_name(score) in names or trainer.sanity_checking:
                continue
            if self.saving.by_epoch and key == "checkpoint.monitor" and not names:
                self.monitor = None  # a module that logs nothing of its validation: the last one counts
                continue
            raise UserError(
                f"{key} is {score}, which is no score of this run", fix=f"it has {', '.join(names) or 'none'}"
            )
        if self.monitor is not None:
            self.monitor = logged.get(standard_name(self.monitor), self.monitor)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logged = {standard_name(name): name for name in trainer.callback_metrics}
        for schedule in trainer.lr_scheduler_configs:  # those that wait for a plateau look at their score next
            if schedule.monitor and schedule.monitor not in trainer.callback_metrics:
                schedule.monitor = logged.get(standard_name(schedule.monitor), schedule.monitor)
        super().on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        by_others, unseen = (
            changed_weights(pl_module, weights) for weights in (self.saving.trained, self.saving.validated)
        )
        self.ends_unvalidated = bool(by_others and unseen)
        self.saving.save(trainer, pl_module, finished=True)

    def load_state_dict(self, state_dict: State) -> None:
        """Lightning's, which forgets the best score where a run was moved, and the last one always."""
        folder = Path(str(self.dirpath))
        moved = {key: str(folder / Path(value).name) if value else value
                 for key, value in state_dict.items() if key.endswith("_path")}  # fmt: skip
        scores = {str(folder / Path(path).name): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})
        self.current_score = state_dict["current_score"]


def _refuse(spoilt: list[str], step: int) -> None:
    for name in spoilt[:1]:
        raise UserError(
            f"the training diverged: after step {step} the weights are no longer finite", why=name, fix=DIVERGED
        )
