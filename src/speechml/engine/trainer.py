"""The trainer of a run, with what watches it and what keeps its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment

from speechml import __version__
from speechml.callbacks import EpochTable
from speechml.config.instantiate import build
from speechml.engine.checkpoint import FORMAT, AtomicIO
from speechml.engine.cluster import started
from speechml.engine.distributed import FrozenDDP, processes
from speechml.engine.saving import Best, Saving
from speechml.engine.signals import Stop


def trainer_for(
    config: dict[str, Any], folder: Path, data: Any, more: list[pl.Callback], resume: Path | None, stop: Stop
) -> tuple[pl.Trainer, Saving, Best | None]:
    """The trainer of a run, with what watches it (`more` besides), and the callbacks that save it and keep its best.

    Args:
        config: of the run.
        folder: of the run.
        data: the data module.
        more: callbacks beside those of the config.
        resume: the checkpoint that it goes on from.
        stop: whether a signal has asked for a stop.
    """
    from speechml.engine.logger import Events

    keep = config["checkpoint"]
    record = {
        "format": FORMAT, "version": __version__, "config": config, "data": data.card()["fingerprint"], "heard": data.heard()
    }  # fmt: skip
    saving = Saving(folder, record, keep["every_n_steps"], keep["every_s"], stop)
    best = Best(folder, record, keep["monitor"], keep["mode"])
    callbacks: list[Any] = [saving, best]
    callbacks += [build(node, where=f"callbacks.{name}") for name, node in config["callbacks"].items() if node]
    callbacks += more
    loggers = [Events(folder)] if config["logger"]["tensorboard"] else []
    callbacks.append(EpochTable(str(folder / "metrics.csv"), config["logger"]["csv"]))
    fixed = {
        "default_root_dir": folder, "logger": loggers, "callbacks": callbacks, "num_sanity_val_steps": 0,
        "use_distributed_sampler": False, "enable_progress_bar": False, "enable_model_summary": False,
        "plugins": [AtomicIO(), LightningEnvironment()],
    }  # fmt: skip
    node = {**fixed, **config["trainer"]}
    if node["max_steps"] > 0:  # rounded up to whole epochs, so that each ends with a validation and a checkpoint
        batches = len(data.train_dataloader())
        node |= {"max_epochs": min(node["max_epochs"], -(-node["max_steps"] // batches)), "max_steps": -1}
    # The last epoch has to end with a validation and a checkpoint, so their period divides the number of epochs.
    node["check_val_every_n_epoch"] = divisor(node["max_epochs"] or -1, node["check_val_every_n_epoch"] or 1)
    several = processes(node) > 1 and node.get("strategy", "auto") == "auto"
    if several or node.get("strategy") == "ddp":  # Lightning's own launcher would replay the command line
        node["strategy"] = FrozenDDP(folder, resume)
        if config["threads"] is None and not started():  # a cluster gives each process cores of its own
            torch.set_num_threads(max(1, torch.get_num_threads() // processes({**node, "num_nodes": 1})))
    trainer = build(node, where="trainer")
    return trainer, saving, None if trainer.fast_dev_run else best


def divisor(number: int, at_most: int) -> int:
    """The largest divisor of `number` that is at most `at_most`; `at_most` itself where `number` is endless (-1)."""
    return max(d for d in range(1, at_most + 1) if number % d == 0) if number > 0 else at_most


def headlines(config: dict[str, Any], task: Any, data: Any) -> list[str]:
    """The scores by which runs are compared: what choices go by, and those of the part that is least known to the network."""
    part = list(data.scored())[-1]
    goals = [] if data.validation_is_known else [config["objective"] or config["checkpoint"]["monitor"]]
    return [*goals, *(f"{part}/{name}" for name in task.headline_scores)]
