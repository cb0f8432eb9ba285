"""Optimiser and schedule from their config nodes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch

from speechml.config.instantiate import build, import_class


def build_optimization(
    parameters: Iterable[torch.nn.Parameter], optimizer: dict[str, Any], scheduler: dict[str, Any] | None, steps: int
) -> dict[str, Any]:
    """What Lightning's `configure_optimizers` returns.

    Args:
        parameters: what is trained.
        optimizer, scheduler: config nodes; no schedule where that is empty.
        steps: optimiser steps of the whole training; given to schedules that ask for `total_steps` or `T_max` and are
            not told.
    """
    built = build(optimizer, parameters, where="optimizer")
    if not scheduler:
        return {"optimizer": built}
    asked = inspect.signature(import_class(scheduler["_target_"], "scheduler.")).parameters
    if "pct_start" in asked and scheduler.get("pct_start") is not None:
        steps = max(3, steps)
        scheduler = {
            **scheduler,
            "pct_start": max(float(scheduler["pct_start"]), 2 / steps),
        }  # two steps up, one down at least
    length = {name: steps for name in ("total_steps", "T_max") if name in asked and scheduler.get(name) is None}
    schedule = build({k: v for k, v in scheduler.items() if k not in length}, built, where="scheduler", **length)
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
