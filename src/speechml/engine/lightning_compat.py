"""Private names of Lightning that speechml borrows; each has a test that says what to do when it is gone.

Nothing else in speechml names them, hence the pin of Lightning's version.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loops.fit_loop import RestartStage
from lightning.pytorch.loops.loop import _Loop

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
