"""How a stopped training goes on: the checkpoint that it can go on from, and what of it is put back, and when."""

from __future__ import annotations

import copy
import random
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch

from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.lightning_compat import METRICS, restore_loops, restore_metrics
from speechml.engine.resume import Losses, State, list_settings, log_files
from speechml.errors import MachineError, UserError, echo
from speechml.runs.folder import LAST, PREVIOUS
from speechml.tasks.base import Task

CONTENT = {"global_step": int, "loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list}
RESUME = {"finished": bool, "machine": dict, "should_stop": bool, "metrics": dict, "logs": dict, "ranks": list,
          "training_s": float}  # what a run goes on with, and of which kinds  # fmt: skip


def find_latest(folder: Path) -> tuple[Path, State] | None:
    """The newest checkpoint that the run in `folder` can go on from, and its content; None where there is none.

    Of one that is damaged, or holds nothing to go on with, a note is printed, and the one before takes its place and name.

    Raises:
        MachineError: the disk does not give it.
    """
    for path in (folder / "checkpoints" / name for name in (LAST, PREVIOUS)):
        if not path.exists():
            continue
        try:
            content = read_checkpoint(path)
            if not can_resume(content):
                raise UserError(f"{path} is whole, but not what a run can go on from")
        except MachineError:  # it may be whole, and what is older takes its place
            raise
        except UserError as error:
            echo(f"note: {UserError(error.what, error.why)}", file=sys.stderr)
            continue
        if path.name == PREVIOUS:  # which the next saving would replace by the damaged one
            path = path.replace(path.with_name(LAST))
        return path, content
    return None


def can_resume(content: State) -> bool:
    """Whether a checkpoint holds what a run goes on with; the first format could be continued after whole epochs only."""
    saved = content.get("resume")
    return (
        isinstance(saved, dict)
        and all(type(content.get(name)) is kind for name, kind in CONTENT.items())
        and all(type(saved.get(name)) is kind for name, kind in RESUME.items())
        and "fit_loop" in content["loops"]
        and saved["metrics"].keys() == set(METRICS)
        and all(type(size) is int and size >= 0 for size in saved["logs"].values())
        and bool(content["optimizer_states"])
        and bool(content["lr_schedulers"] or not content["speechml"]["config"].get("scheduler"))
    )


def restore(trainer: pl.Trainer, task: pl.LightningModule, saved: State) -> None:
    """Put back what `capture` gave, at the start of the same batch, with the counters of Lightning's loops as they were."""
    restore_finished(trainer, saved)
    for owner, state in saved["training"]:
        owner.load_state_dict(state)
    restore_loops(trainer, saved["loops"])
    own = saved["ranks"][trainer.global_rank]
    if isinstance(task, Task):
        task.losses = unpack_losses(own["losses"], task.device)
    set_random_states(own["random"], task.device)


def restore_finished(trainer: pl.Trainer, saved: State) -> None:
    """Put back the part of the state that counts when the training is over."""
    trainer.should_stop = saved["should_stop"]
    restore_metrics(trainer, saved["metrics"])


def set_random_states(states: State, device: torch.device) -> None:
    """Put back what `random_states` gave."""
    torch.set_rng_state(states["torch"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    own = states["numpy"]
    key = own["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**own, "state": {**own["state"], "key": key}})
    if "device" in states:
        getattr(torch, device.type).set_rng_state(states["device"])


def write_settings(trainer: pl.Trainer, values: State) -> None:
    """Put back what `read_settings` gave, as far as it is plain."""
    for key, owner, name in list(list_settings(trainer)):
        if key in values and not isinstance(values[key], str) and getattr(owner, name) != values[key]:
            setattr(owner, name, copy.deepcopy(values[key]))


def unpack_losses(losses: State, device: torch.device) -> Losses:
    """What `pack_losses` was given."""
    values = {name: stacked.to(device).unbind() for name, stacked in losses["values"].items()}
    batches = enumerate(zip(losses["batches"], losses["counts"], strict=True))
    return {batch: (count, {name: each[i] for name, each in values.items()}) for i, (batch, count) in batches}


def check_rank_count(saved: State, count: int) -> None:
    """Raises UserError on another number of processes than before: each has its own share of the batches."""
    ranks = len(saved["ranks"])
    if ranks != count:
        fix = f"set trainer.devices={ranks}, or add redo=true to begin again"
        raise UserError(f"the run was stopped on {ranks} processes and this would be {count}", fix=fix)


def cut_logs(folder: Path, lengths: dict[str, int]) -> None:
    """Remove from what loggers have written what came after a checkpoint, which knew the files by `lengths` in bytes.

    Raises OSError.
    """
    for path in log_files(folder):
        if path.name not in lengths:
            path.unlink()
        elif path.stat().st_size > lengths[path.name]:
            with path.open("r+b") as file:
                file.truncate(lengths[path.name])
