"""Private names of Lightning that speechml borrows; each has a test that says what to do when it is gone.

Nothing else in speechml names them, hence the pin of Lightning's version.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch.loops.fit_loop import RestartStage
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.trainer import call
from lightning.pytorch.trainer.states import RunningStage, TrainerFn, TrainerStatus

# Of the connector of loggers: what callbacks read as the metrics of the last epoch and validation.
METRICS = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics", "_first_loop_iter", "_current_fx")


def capture_metrics(trainer: pl.Trainer) -> dict[str, Any]:
    """The metrics that callbacks read, by METRICS."""
    return {name: getattr(trainer._logger_connector, name) for name in METRICS}


def restore_metrics(trainer: pl.Trainer, metrics: dict[str, Any]) -> None:
    """Put back what `capture_metrics` gave."""
    vars(trainer._logger_connector).update({name: metrics[name] for name in METRICS})


def repeat_epoch_start(trainer: pl.Trainer) -> None:
    """Let a run that goes on within an epoch call the hooks of the epoch's start, which Lightning leaves out."""
    trainer.fit_loop._restart_stage = RestartStage.RESTARTED_ON_EPOCH_START


def restore_loops(trainer: pl.Trainer, state: dict[str, Any]) -> None:
    """Set the counters of the training loops, and let them go on as if they had never been interrupted.

    Restarting, they would count a batch again.
    """
    trainer.fit_loop.load_state_dict(state)
    _settle(trainer.fit_loop)


def _settle(loop: _Loop) -> None:
    loop.on_iteration_done()
    for child in vars(loop).values():
        if isinstance(child, _Loop):
            _settle(child)


setattr(registry, "entry_points", cache(registry.entry_points))  # noqa: B010 (of a module; asked by every Trainer, and slow)


def begin_fit(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, checkpoint: Path | None, batches: int
) -> None:
    """Bring a trainer to where its loop would train the first batch, or the next one of a checkpoint, without that loop.

    Lightning's `_run` up to `_run_stage`, for one process on one device.

    Args:
        batches: of an epoch.
    """
    trainer.state.fn, trainer.state.status, trainer.training = TrainerFn.FITTING, TrainerStatus.RUNNING, True
    trainer.fit_loop.max_batches = batches
    trainer.strategy.connect(module)
    trainer._data_connector.attach_data(module, datamodule=data)
    trainer._callback_connector._attach_model_logging_functions()
    trainer.strategy.setup_environment()
    call._call_setup_hook(trainer)
    trainer._checkpoint_connector._restore_modules_and_callbacks(checkpoint, weights_only=True)
    trainer._logger_connector.reset_results()
    trainer._logger_connector.reset_metrics()
    trainer.strategy.setup(trainer)
    call._call_callback_hooks(trainer, "on_fit_start")
    call._call_lightning_module_hook(trainer, "on_fit_start")
    trainer._checkpoint_connector.restore_training_state()
    trainer._checkpoint_connector.resume_end()


def begin_stage(trainer: pl.Trainer, stage: str) -> None:
    """Let a trainer be testing, without its loop."""
    trainer.state.fn, trainer.state.status = TrainerFn(stage), TrainerStatus.RUNNING
    trainer.state.stage = RunningStage.TESTING
    call._call_setup_hook(trainer)


def end_stage(trainer: pl.Trainer) -> None:
    """What Lightning's `_run` does after a loop."""
    call._call_teardown_hook(trainer)
    trainer.state.status, trainer.state.stage = TrainerStatus.FINISHED, None


def set_progress(trainer: pl.Trainer, epoch: int, batch: int, steps: int) -> None:
    """Let the counters of the training say that so many epochs, batches of the next one, and steps in all are done."""
    loop = trainer.fit_loop
    for progress, now, total in ((loop.epoch_progress, epoch, epoch), (loop.epoch_loop.batch_progress, batch, steps)):
        for name in ("ready", "started", "processed", "completed"):
            setattr(progress.current, name, now)
            setattr(progress.total, name, total)
    loop.epoch_loop._batches_that_stepped = steps
    count = loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    count.ready = count.completed = steps


def add_metrics(trainer: pl.Trainer, metrics: dict[str, float]) -> None:
    """Let callbacks read these as what was logged last, beside what was logged before."""
    trainer._logger_connector._callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
