"""One run among those that are trained together: where it is, what its epochs come to, when it is saved, how it ends."""

from __future__ import annotations

import time
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.callbacks.epochs import EpochTable, Progress
from speechml.engine.checkpoint import read_checkpoint, weights_of
from speechml.engine.lightning_compat import add_metrics, begin_fit, end_stage, set_progress
from speechml.engine.restore import restore_finished
from speechml.engine.saving import DIVERGED, Best, Saving
from speechml.engine.weights_check import check_weights
from speechml.errors import UserError
from speechml.fused.best_weights import BestWeights
from speechml.fused.network import stacked_network
from speechml.process import set_seed

if TYPE_CHECKING:
    from speechml.contracts import FeatureBatch
    from speechml.data.base import BaseDataModule, Corpus
    from speechml.engine.life import OpenRun
    from speechml.fused.contracts import FixedInputs, OrderedData
    from speechml.tasks.classification import Classification

CHECKPOINT_FAULTS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)


class Member:
    """A run that is ready to be trained, its task, optimiser and trainer being ordinary ones between two epochs.

    Args:
        run: whose folder this process holds.
        shows_epochs: whether its own callbacks tell of its epochs.

    Attributes:
        epoch, batch: the next one.
        steps: taken so far.
        order: the items of this epoch, in the order of its batches.
        counts: items of each batch.

    Raises:
        UserError: its checkpoint is not what it can go on from.
    """

    def __init__(self, run: OpenRun, shows_epochs: bool = True) -> None:
        parts = run.parts
        self.run, self.parts, self.trainer = run, parts, parts.trainer
        self.task = cast("Classification[FeatureBatch]", parts.task)
        self.data = cast("BaseDataModule[Corpus]", parts.data)
        if not shows_epochs:
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined] # Lightning sets it, but does not declare it
            self.trainer.callbacks = [one for one in callbacks if not isinstance(one, Progress)]  # type: ignore[attr-defined]
        self.table = next(one for one in self.trainer.callbacks if isinstance(one, EpochTable))  # type: ignore[attr-defined]
        self.table.is_deferred = True
        self.best = BestWeights(cast("Best", parts.best), self.trainer)
        self._begin(run.checkpoint)
        self.network = stacked_network(self.task.net)
        self.inputs, self.labels = cast("FixedInputs", self.task).fixed_inputs(self.data)
        self.validated = torch.cat(self.data.val_dataloader().groups(0))  # the items, in their order

    def _begin(self, checkpoint: Path | None) -> None:
        trainer, saving = self.trainer, self.parts.saving
        groups = len(cast("OrderedData", self.data).training_order(0)[1])
        if checkpoint:
            check_weights(self.task, read_checkpoint(checkpoint)["state_dict"], checkpoint)
        try:
            begin_fit(trainer, self.task, self.data, checkpoint, groups)
        except CHECKPOINT_FAULTS as error:
            if not saving.to_restore:
                raise
            fix = "add redo=true to begin again"
            raise UserError(f"{checkpoint} is not what this run can go on from", str(error), fix) from error
        self.epoch, self.steps = trainer.current_epoch, trainer.global_step
        self.batch = trainer.fit_loop.epoch_loop.batch_progress.current.completed % max(1, groups)
        state = saving.to_restore or {}
        if state:
            restore_finished(trainer, state)
        before = state.get("fused", {}) if self.batch else {}
        self.losses: Tensor = before.get("losses", torch.zeros(0))  # of the batches of this epoch so far
        self.hits: Tensor = before.get("hits", torch.zeros(0))
        self._hook("on_train_start")
        saving.to_restore = None
        self.open_epoch()

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Torch's, with the state that the last epoch left."""
        return self.trainer.optimizers[0]

    @property
    def has_epochs_left(self) -> bool:
        """Whether there is something to train."""
        is_stopped = self.trainer.should_stop and self.epoch >= (self.trainer.min_epochs or 0)
        return self.epoch < (self.trainer.max_epochs or 0) and not is_stopped

    @property
    def kind(self) -> Hashable:
        """What members must have in common to be stacked."""
        group = self.optimizer.param_groups[0]
        switches = {
            name: bool(group[name]) for name in ("momentum", "nesterov", "decoupled_weight_decay") if name in group
        }
        return (
            self.inputs.shape, self.network.outputs, len(self.validated), type(self.optimizer), tuple(switches.items()),
            tuple(self.counts), self.epoch, self.batch, self.steps,
        )  # fmt: skip

    def open_epoch(self) -> None:
        """Know the batches of this epoch."""
        self.order, self.counts = cast("OrderedData", self.data).training_order(self.epoch)

    def check_losses(self, losses: Tensor) -> None:
        """Raises UserError where the loss of a batch of this epoch was no number, or the weights are none. Shape: (batches,)."""
        wrong = (~losses.isfinite()).nonzero()
        if len(wrong):
            step = self.steps - len(losses) + int(wrong[0]) + 1
            fix = DIVERGED if step > 1 else "look at the data and the loss: nothing had been learned yet"
            raise UserError(f"the training diverged: the loss of batch {step} is {float(losses[wrong[0]])}", fix=fix)
        self.parts.saving.check_finite(self.trainer, self.task)

    def spend(self, seconds: float) -> None:
        """Count what this run took of the time of all."""
        saving = self.parts.saving
        saving.before_s, saving.started = saving.before_s + seconds, time.monotonic()

    @property
    def is_validation_due(self) -> bool:
        """Whether this epoch ends with a validation."""
        return (self.epoch + 1) % (self.trainer.check_val_every_n_epoch or 1) == 0

    def end_epoch(self, losses: dict[str, float], scores: dict[str, float], weights: Tensor) -> None:
        """Let what watches the run know of an epoch.

        Args:
            losses: means over the epoch, by name.
            scores: of the validation, where it was due.
            weights: of this member in its stack.
        """
        trainer, batches = self.trainer, len(self.counts)
        set_progress(trainer, self.epoch, batches, self.steps)
        add_metrics(trainer, {**scores, **losses})
        if self.is_validation_due:
            self.best.offer(weights, self.epoch, batches, self.steps)
            self._hook("on_validation_end", without=(Saving, Best))
        self._hook("on_train_epoch_end", without=(Best,))
        self.move_schedule(by_epoch=True)
        for logger in trainer.loggers:
            for values in filter(None, (scores, losses)):
                logger.log_metrics({**values, "epoch": self.epoch}, self.steps - 1)
        self.epoch, self.batch, self.losses, self.hits = self.epoch + 1, 0, torch.zeros(0), torch.zeros(0)
        set_progress(trainer, self.epoch, 0, self.steps)

    def is_saving_due(self, batch: int, steps: int) -> bool:
        """Whether it is to be saved before a batch of this epoch, so many steps having been taken."""
        set_progress(self.trainer, self.epoch, batch, steps)
        return self.parts.saving._is_due(self.trainer)

    @property
    def is_scheduled(self) -> bool:
        """Whether its rates change from step to step."""
        return any(config.interval == "step" for config in self.trainer.lr_scheduler_configs)

    def move_schedule(self, by_epoch: bool = False) -> None:
        """Move a schedule on that goes by steps, or by epochs."""
        interval = "epoch" if by_epoch else "step"
        for config in self.trainer.lr_scheduler_configs:
            if config.interval != interval or (by_epoch and (self.epoch + 1) % config.frequency):
                continue
            if isinstance(config.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                config.scheduler.step(float(self.trainer.callback_metrics[str(config.monitor)]))
            else:
                config.scheduler.step()

    def save(self, final: bool = False) -> None:
        """Write last.ckpt, and before it the best one; the task has its weights."""
        self._prepare_saving()
        self.parts.saving.save(self.trainer, self.task, final)

    def _prepare_saving(self) -> None:
        if (weights := self.best.write()) is not None:
            own = weights_of(self.task)
            self.load_weights(weights)
            self.trainer.save_checkpoint(self.best.path, weights_only=True)
            self.task.load_state_dict(own, strict=False)
        set_progress(self.trainer, self.epoch, self.batch, self.steps)
        set_seed(self.parts.config["seed"])  # nothing draws from them: in any company they are the same
        self.parts.saving.further = {"fused": {"losses": self.losses.clone(), "hits": self.hits.clone()}}

    def load_weights(self, weights: Tensor) -> None:
        """Give the task the weights of a row of a stack. Shape: (numbers,)."""
        with torch.no_grad():
            for name, parameter in self.task.net.named_parameters():
                parameter.copy_(self.network.places[name].view(weights))

    def end(self) -> None:
        """Write the last checkpoint, and leave the trainer as a training leaves it; the task has its weights."""
        self.spend(0.0)  # the time since was that of others
        self._prepare_saving()
        self.parts.saving.validated = weights_of(self.task)  # an epoch that is the last one ends with a validation
        self._hook("on_train_end")
        end_stage(self.trainer)

    def _hook(self, name: str, without: tuple[type[pl.Callback], ...] = ()) -> None:
        """Call a hook of the callbacks, in Lightning's order, but for those whose part is done otherwise."""
        for one in self.trainer.callbacks:  # type: ignore[attr-defined] # Lightning sets it, but does not declare it
            if not isinstance(one, without):
                getattr(one, name)(self.trainer, self.task)
