"""The trainer of a run, with what watches it, saves it and keeps its best weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
import torch

from speechml import __version__
from speechml.callbacks.epoch_table import EpochTable
from speechml.config.instantiate import build
from speechml.contracts import Config
from speechml.data.base import BaseDataModule, Corpus
from speechml.engine.checkpoint import FORMAT, AtomicIO
from speechml.engine.distributed import FrozenDDP, processes
from speechml.engine.lightning_compat import LightningEnvironment
from speechml.engine.rank_info import rank_info
from speechml.engine.saving import Best, Saving
from speechml.engine.signals import Stop
from speechml.engine.tensorboard_logger import Events


def build_trainer(
    config: Config, folder: Path, data: BaseDataModule[Corpus], more: Sequence[pl.Callback], stop: Stop
) -> tuple[pl.Trainer, Saving, Best | None]:
    """The trainer of a run with its callbacks, and those of them that save it and keep its best."""
    keep = config["checkpoint"]
    record = {
        "format": FORMAT, "version": __version__, "config": config, "data": data.spec.fingerprint,
        "heard": data.train_val_checksums(),
    }  # fmt: skip
    saving = Saving(folder, record, keep["every_n_steps"], keep["every_s"], stop)
    best = Best(folder, record, keep["monitor"], keep["mode"])
    callbacks: list[pl.Callback] = [saving, best]
    callbacks += [build(node, where=f"callbacks.{name}") for name, node in config["callbacks"].items() if node]
    callbacks += more
    callbacks.append(EpochTable(str(folder / "metrics.csv"), config["logger"]["csv"]))
    fixed = {
        "default_root_dir": folder, "logger": [Events(folder)] if config["logger"]["tensorboard"] else [],
        "callbacks": callbacks, "num_sanity_val_steps": 0, "use_distributed_sampler": False,
        "enable_progress_bar": False, "enable_model_summary": False, "plugins": [AtomicIO(), LightningEnvironment()],
    }  # fmt: skip
    node = {**fixed, **config["trainer"]}
    if node["max_steps"] > 0:  # rounded up to whole epochs, so that each ends with a validation and a checkpoint
        epochs = math.ceil(node["max_steps"] / len(data.train_dataloader()))
        node |= {"max_epochs": epochs if node["max_epochs"] == -1 else min(epochs, node["max_epochs"]), "max_steps": -1}
    # The last epoch has to end with a validation and a checkpoint, so their period divides the number of epochs.
    node["check_val_every_n_epoch"] = largest_divisor(node["max_epochs"] or -1, node["check_val_every_n_epoch"] or 1)
    several = processes(node) > 1 and node.get("strategy", "auto") == "auto"
    if several or node.get("strategy") == "ddp":  # Lightning's own launcher would replay the command line
        node["strategy"] = FrozenDDP(folder)
        if config["threads"] is None and not rank_info():  # a cluster gives each process cores of its own
            torch.set_num_threads(max(1, torch.get_num_threads() // processes({**node, "num_nodes": 1})))
    trainer: pl.Trainer = build(node, where="trainer")
    return trainer, saving, None if trainer.fast_dev_run else best  # type: ignore[attr-defined] # of a trainer's flags


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of `number` that is at most `at_most`; `at_most` itself where `number` is endless (-1)."""
    return max(d for d in range(1, at_most + 1) if number % d == 0) if number > 0 else at_most


def training_steps(trainer: pl.Trainer, batches: int) -> int:
    """Optimiser steps of a whole training: Lightning's `estimated_stepping_batches`, known before the training begins.

    Args:
        trainer: built.
        batches: training batches of an epoch on this rank.
    """
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * max(trainer.max_epochs or 1, 1)
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
