"""Whether weights that were read are those of a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from speechml.engine.checkpoint import nonfinite_names, shorten
from speechml.errors import UserError


def check_weights(task: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse weights whose names or shapes are not the task's, or that are NaN or infinite, naming the first."""
    own, other = task.state_dict(), f"{path} is a checkpoint of another model"
    for name in sorted(own.keys() ^ state.keys(), key=str):
        side = "lacks" if name in own else "has an unknown"
        raise UserError(f"{other}: it {side} weight {shorten(name)}")
    for name, weight in own.items():
        loaded = state[name]
        if loaded.shape != weight.shape:
            raise UserError(f"{other}: weight {name} has shape {tuple(loaded.shape)}, not {tuple(weight.shape)}")
        if (loaded.dtype, loaded.layout) != (weight.dtype, weight.layout) or loaded.is_meta:
            kind = f"{loaded.dtype}, {loaded.layout} on {loaded.device}"
            raise UserError(f"{other}: weight {name} is {kind}, not {weight.dtype}")
    buffers = dict(task.named_buffers())
    for name in nonfinite_names(state):
        if name in buffers and name.startswith("net.") and not bool(state[name].isnan().any()):
            continue  # as a mask of minus infinity
        raise UserError(f"{path} holds weights that are NaN or infinite", name, "train again with a lower optimizer.lr")
