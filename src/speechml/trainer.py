"""The trainer of a run, with what watches it and what keeps its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from speechml.build import build
from speechml.callbacks import EpochTable
from speechml.configs import flat
from speechml.runs.checkpoint import AtomicIO, Record
from speechml.runs.ranks import FrozenDDP, processes


def trainer_for(
    config: dict[str, Any], folder: Path, data: Any, task: Any, more: list[pl.Callback]
) -> tuple[pl.Trainer, Any]:
    """The trainer of a run, with what watches it (`more` besides), and the callback that keeps the best checkpoint."""
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import TensorBoardLogger

    keep = config["checkpoint"]
    common: dict[str, Any] = {
        "dirpath": folder / "checkpoints",
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    best = ModelCheckpoint(filename="best", monitor=keep["monitor"], mode=keep["mode"], **common)
    # A callback of its own: with save_last=True Lightning 2.6 writes last.ckpt only when best.ckpt is written as well.
    last = ModelCheckpoint(filename="last", **common)
    callbacks = [Record(config, data.card()["fingerprint"], data.heard()), best, last]
    callbacks += [build(node, where=f"callbacks.{name}") for name, node in config["callbacks"].items() if node]
    callbacks += more
    loggers = []
    if config["logger"]["tensorboard"]:
        loggers.append(TensorBoardLogger(folder, name="", version="", default_hp_metric=False))
    if config["logger"]["csv"]:
        callbacks.append(EpochTable(str(folder / "metrics.csv")))
    fixed = {
        "default_root_dir": folder, "logger": loggers, "callbacks": callbacks, "num_sanity_val_steps": 0,
        "use_distributed_sampler": False, "plugins": [AtomicIO()], "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    node = {**fixed, **config["trainer"]}
    if node["max_steps"] > 0:  # rounded up to whole epochs, so that each ends with a validation and a checkpoint
        batches = len(data.train_dataloader())
        node |= {"max_epochs": min(node["max_epochs"], -(-node["max_steps"] // batches)), "max_steps": -1}
    # The last epoch has to end with a validation and a checkpoint, so their period divides the number of epochs.
    node["check_val_every_n_epoch"] = divisor(node["max_epochs"] or -1, node["check_val_every_n_epoch"] or 1)
    several = processes(node) > 1 and node.get("strategy", "auto") == "auto"
    if several or node.get("strategy") == "ddp":  # Lightning's own launcher would replay the command line
        node["strategy"] = FrozenDDP(folder)
    trainer = build(node, where="trainer")
    for logger in loggers:
        hyperparameters = {
            **flat({k: config[k] for k in ("model", "optimizer", "scheduler", "data")}),
            "seed": config["seed"],
        }
        # TensorBoard's HPARAMS tab lists a run only if it knows its metrics from the start.
        logger.log_hyperparams(hyperparameters, {f"hp/{name}": float("nan") for name in headlines(config, task, data)})
    return trainer, None if trainer.fast_dev_run else best


def divisor(number: int, at_most: int) -> int:
    """The largest divisor of `number` that is at most `at_most`; `at_most` itself where `number` is endless (-1)."""
    return max(d for d in range(1, at_most + 1) if number % d == 0) if number > 0 else at_most


def headlines(config: dict[str, Any], task: Any, data: Any) -> list[str]:
    """The scores by which runs are compared: what choices go by, and those of the part that is least known to the network."""
    part = list(data.scored())[-1]
    goals = [] if data.validation_is_known else [config["objective"] or config["checkpoint"]["monitor"]]
    return [*goals, *(f"{part}/{name}" for name in task.headline_scores)]
