"""Optimiser and schedule from their config nodes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from speechml.config.instantiate import build, import_class

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
    from torch.nn import Parameter

    from speechml.contracts import Config

    Optimization = OptimizerConfig | OptimizerLRSchedulerConfig  # what Lightning's `configure_optimizers` returns


def build_optimization(
    parameters: Iterable[Parameter], optimizer: Config, scheduler: Config | None, steps: int
) -> Optimization:
    """Build the optimiser, and the schedule where there is one, which moves on after every step.

    Args:
        parameters: what is trained.
        optimizer, scheduler: config nodes.
        steps: optimiser steps of the whole training, for schedules that take `total_steps` or `T_max` and have none.

    Raises:
        UserError: no such class, or one that refuses its arguments.
    """
    built = build(optimizer, parameters, where="optimizer")
    if not scheduler:
        return {"optimizer": built}
    known = inspect.signature(import_class(scheduler["_target_"], "scheduler.")).parameters
    arguments = dict(scheduler)
    if "pct_start" in known and arguments.get("pct_start") is not None:
        steps = max(3, steps)  # two steps up, one down at least
        arguments["pct_start"] = max(float(arguments["pct_start"]), 2 / steps)
    arguments |= {name: steps for name in ("total_steps", "T_max") if name in known and arguments.get(name) is None}
    schedule = build(arguments, built, where="scheduler")
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
