"""The parts of a run: data, task and trainer, each built once and checked while it is built, before a folder exists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from speechml import __version__
from speechml.callbacks.epoch_table import EpochTable
from speechml.config.instantiate import build, import_class
from speechml.contracts import Config, Trial
from speechml.engine.checkpoint import FORMAT, AtomicIO, build_task
from speechml.engine.checks import check_config, check_data_size
from speechml.engine.cluster import rank_info
from speechml.engine.distributed import FrozenDDP, processes
from speechml.engine.lightning_compat import LightningEnvironment
from speechml.engine.process import set_seed
from speechml.engine.saving import Best, Saving
from speechml.engine.signals import Stop
from speechml.errors import UnusableData, UserError


@dataclass
class Parts:
    """What a run consists of.

    Attributes:
        config: of the run, the names of the data's classes filled in.
        best: keeps the best checkpoint; None where nothing is saved.
        stop: whether a signal has asked the run to stop.
    """

    config: Config
    data: Any
    task: Any
    trainer: pl.Trainer
    saving: Saving
    best: Best | None
    stop: Stop
    trial: Trial | None

    def resume_from(self, checkpoint: Path | None) -> None:
        """Say from which checkpoint further ranks are to go on."""
        if isinstance(self.trainer.strategy, FrozenDDP):
            self.trainer.strategy.checkpoint = checkpoint.absolute() if checkpoint else None


def build_data(config: Config) -> Any:
    """The data module of a config, its recordings read: what is wrong with them is said here.

    Raises:
        UnusableData: they cannot be used.
    """
    try:
        data = build(config["data"], where="data")
        data.card()
    except UserError as error:
        raise UnusableData(error.what, error.why, error.fix) from error
    return data


def build_parts(config: Config, data: Any, folder: Path, trial: Trial | None = None, stop: Stop | None = None) -> Parts:
    """Build task and trainer of a run around its data.

    Args:
        config: plain, paths absolute.
        data: as `build_data` gives it.
        folder: of the run; nothing is written there.
        trial: of a search that the run belongs to.
        stop: where a signal is noted already.

    Raises:
        UserError: for what would fail, or hang, in the middle of the run.
    """
    config = with_classes(config, data)
    check_task_takes(config, data)
    set_seed(config["seed"])
    task: Any = build_task(config, "the config")
    task.setup_for(data)
    check_config(config)
    check_data_size(config, data)
    stop = stop or Stop()
    callbacks = trial.callbacks(watched_score(config), processes(config["trainer"])) if trial else []
    trainer, saving, best = build_trainer(config, folder, data, callbacks, stop)
    data.trainer = trainer  # it knows how many ranks share a batch
    task.build_optimization(training_steps(trainer, len(data.train_dataloader())))
    return Parts(config, data, task, trainer, saving, best, stop, trial)


def watched_score(config: Config) -> str:
    """The validation score that a search goes by: `objective`, else `checkpoint.monitor`."""
    return str(config["objective"] or config["checkpoint"]["monitor"])


def with_classes(config: Config, data: Any) -> Config:
    """The config with the names of the data's classes, where the model has outputs for classes and names none."""
    if "classes" in config["model"] and config["model"]["classes"] is None:
        return {**config, "model": {**config["model"], "classes": getattr(data, "classes", None)}}
    return config


def check_task_takes(config: Config, data: Any) -> None:
    """Refuse data of another kind than the task learns from, before its network is built.

    Raises:
        UserError: saying which data it takes.
    """
    kind: Any = import_class(config["model"].get("_target_"), "model.")
    if hasattr(kind, "check_data"):
        kind.check_data(data.spec)


def build_trainer(
    config: Config, folder: Path, data: Any, more: Sequence[pl.Callback], stop: Stop
) -> tuple[pl.Trainer, Saving, Best | None]:
    """The trainer of a run with its callbacks, and those of them that save it and keep its best."""
    from speechml.engine.logger import Events

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
        batches = len(data.train_dataloader())
        node |= {"max_epochs": min(node["max_epochs"], -(-node["max_steps"] // batches)), "max_steps": -1}
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
