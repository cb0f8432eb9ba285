"""The parts of a run: data, task and trainer, each built once and checked while it is built, before a folder exists."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, GradientAccumulationScheduler
from lightning.pytorch.plugins.environments import LightningEnvironment

from speechml import __version__, contracts
from speechml.callbacks.epochs import EpochTable
from speechml.config.instantiate import build, import_class, parameters
from speechml.config.schema import data_keys, schema_of
from speechml.config.train_config import check_score_keys, sections_with_monitor, with_modes
from speechml.contracts import Config, Trial, missing_members
from speechml.data.base import BaseDataModule, Corpus
from speechml.engine.checkpoint import FORMAT, AtomicIO, build_task
from speechml.engine.distributed import count_processes, rank_info
from speechml.engine.saving import Best, Saving
from speechml.engine.signals import Stop
from speechml.engine.tensorboard_logger import Events
from speechml.errors import UnknownScore, UnusableData, UserError, did_you_mean
from speechml.metrics import sense_of
from speechml.process import set_seed
from speechml.runs.card import PublishedCard
from speechml.tasks.base import Task

Data = BaseDataModule[Corpus]
# Of Lightning's callbacks, those that a run of ours cannot have, and why.
UNUSABLE_CALLBACKS: dict[type[pl.Callback], str] = {
    pl.callbacks.BatchSizeFinder: "would train before the training; try values of data.batch_size instead",
    pl.callbacks.LearningRateFinder: "would train before the training; find_lr=true finds a rate",
    pl.callbacks.ModelPruning: "renames the weights, so that no checkpoint could be tested or gone on from",
}


@dataclass
class Parts:
    """What a run consists of.

    Attributes:
        config: of the run, the names of the data's classes filled in.
        best: keeps the best checkpoint; None where nothing is saved.
        stop: whether a signal has asked the run to stop.
        trial: of a search that the run belongs to.
        callbacks: of the config, by their names in it.
    """

    config: Config
    data: Data
    task: Task
    trainer: pl.Trainer
    saving: Saving
    best: Best | None
    stop: Stop
    trial: Trial | None
    callbacks: dict[str, pl.Callback]


def watched_score(config: Config) -> str:
    """The validation score that a search goes by: `objective`, else `checkpoint.monitor`."""
    return str(config["objective"] or config["checkpoint"]["monitor"])


def choose_modes(config: Config) -> Config:
    """A copy of a config in which each `mode` is that of the score, by its name or the metric that it is of; null: not known.

    Raises:
        UserError: a mode is against the sense of its score.
    """

    check_score_keys(config, sense_of)
    chosen = with_modes(config, sense_of)
    for where, node in sections_with_monitor(chosen).items():
        before = config["callbacks"].get(where.removeprefix("callbacks."))
        if before and "mode" in node and not {"mode", "**"} & parameters(import_class(node["_target_"], where)):
            chosen["callbacks"][where.removeprefix("callbacks.")] = before  # a class of the user's own, without modes
    return chosen


def wanted_scores(config: Config) -> dict[str, str]:
    """The scores that something goes by, by its key."""
    wanted = {f"{where}.monitor": str(node["monitor"]) for where, node in sections_with_monitor(config).items()}
    return wanted | ({"objective": str(config["objective"])} if config["objective"] else {})


def check_scores(config: Config, task: Task) -> None:
    """Refuse to choose by what the task does not score, as far as that is known before it does, or by a score without mode.

    Raises:
        UnknownScore: which, and the scores that there are.
    """
    names = task.score_names() if isinstance(task, Task) else None
    for key, score in wanted_scores(config).items():
        if names is not None and score not in names:
            near = did_you_mean(score, names).removeprefix("; ")
            there = [name for name in names if name.startswith("val/") or key.startswith("callbacks.")]
            fix = f"{near or 'choose another'} (there are {', '.join(there)})"
            raise UnknownScore(f"{key} is {score}, which is no score of this run", fix=fix)
    for where, node in sections_with_monitor(config).items():
        if node.get("mode", "min") is None:
            what = f"{where}.monitor is {node['monitor']}, of which it is not known whether more is better"
            raise UserError(what, fix=f"set {where}.mode to min or max")


def build_data(config: Config) -> Data:
    """The data module of a config, its recordings read. Raises UnusableData where they cannot be used."""
    try:
        data: Data = build(config["data"], where="data", kind=pl.LightningDataModule)
        if missing := missing_members(data, contracts.DataModule):
            name = type(data).__name__
            raise UserError(f"{name} lacks {', '.join(missing)}", fix="speechml.data.base.BaseDataModule has them")
        if not data.splits["train"]:
            what = f"these data are a test set (split protocol {data.card().protocol}): there is nothing to train on"
            raise UserError(what, fix="score a run on them: speechml-evaluate run=FOLDER data=...")
        data.card()
        remember_places(config)
    except UserError as error:
        raise UnusableData(error.what, error.why, error.fix) from error
    return data


def named_places(node: Config) -> list[str]:
    """The files and folders that a data node names, but for the cache; of a class of the user's own any text may be one."""
    known = data_keys(node.get("_target_")) if schema_of(node.get("_target_")) else {}
    return [value for name, value in node.items() if isinstance(value, str)
            and name not in ("_target_", "cache") and (not known or known[name].is_path)]  # fmt: skip


def place_mark(cache: str, place: str) -> Path:
    """A file that is there when somebody here has trained on the recordings of a place."""
    name = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:16]
    return Path(cache).expanduser() / "trained_on" / name


def remember_places(config: Config) -> None:
    """Remember what the user has named to train on, so that a run may name it again."""
    for place in named_places(config["data"]):
        with suppress(OSError):
            mark = place_mark(str(config["paths"]["cache"]), place)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def build_parts(
    config: Config, data: Data, folder: Path, trial: Trial | None = None, stop: Stop | None = None
) -> Parts:
    """Build task and trainer of a run around its data; nothing is written into its folder.

    Raises:
        UserError: for what would fail, or hang, in the middle of the run.
    """
    check_compatible(config, data)
    config = choose_modes(config)
    if "classes" in config["model"] and config["model"]["classes"] is None:  # the outputs are the data's classes
        config = {**config, "model": {**config["model"], "classes": list(data.spec.classes) or None}}
    set_seed(config["seed"])
    task = build_task(config, "the config")
    published = PublishedCard.from_config(config["published"]).scores
    data.scores_training = any(name.startswith("train/") for name in published)
    task.setup_for(data)
    task.add_metrics(config.get("metrics") or {})
    check_scores(config, task)
    stop = stop or Stop()
    saving = Saving(folder, config, stop)
    best = Best(folder, config["checkpoint"]["monitor"], config["checkpoint"]["mode"], saving, wanted_scores(config))
    named = build_callbacks(config["callbacks"], data)
    callbacks: list[pl.Callback] = [saving, best, *named.values()]
    callbacks += trial.callbacks(watched_score(config), count_processes(config["trainer"])) if trial else []
    trainer = build_trainer(config, folder, data, callbacks)
    data.trainer = trainer  # it knows how many ranks share a batch
    check_limits(trainer, data, config["test"])
    task.build_optimization(training_steps(trainer, len(data.train_dataloader())))
    keeps_best = not trainer.fast_dev_run  # type: ignore[attr-defined] # of a trainer's flags
    return Parts(config, data, task, trainer, saving, best if keeps_best else None, stop, trial, named)


def check_compatible(config: Config, data: Data) -> None:
    """Raises UserError where the task cannot learn from the data, or some process would get none; before it is built."""
    task_class = import_class(config["model"].get("_target_"), "model.")
    if missing := missing_members(task_class, contracts.Task):
        raise UserError(f"{task_class.__name__} lacks {', '.join(missing)}", fix="speechml.tasks.base.Task has them")
    if issubclass(task_class, Task):
        task_class.check_data(data.spec)
    ranks = count_processes(config["trainer"])
    check_closure(config, ranks)
    size, smallest = config["data"]["batch_size"], data.spec.min_batch_per_rank * ranks
    if size < smallest:
        raise UserError(f"data.batch_size is {size}; {ranks} processes need {smallest} at least")
    few = {split: count for split, count in data.card().recordings.items() if count < ranks}
    if few:
        raise UserError(
            f"{ranks} processes need as many {data.spec.item_name} in every split, but there are {few}",
            fix="set trainer.devices",
        )


def check_closure(config: Config, ranks: int) -> None:
    """Raises UserError where an optimiser that computes its batch several times a step, as LBFGS, would be misled."""
    if not issubclass(import_class(config["optimizer"].get("_target_"), "optimizer."), torch.optim.LBFGS):
        return
    trainer = config["trainer"]
    callbacks = [import_class(node["_target_"], "callbacks.") for node in config["callbacks"].values() if node]
    scheduled = any(issubclass(one, GradientAccumulationScheduler) for one in callbacks)
    for is_so, why, fix in (
        (ranks > 1, f"searches along a line on each process's own loss, and {ranks} processes would wait for each other "
         "for ever", "add trainer.devices=1"),
        (scheduled or trainer.get("accumulate_grad_batches", 1) > 1, "computes its batch several times a step, and each "
         "time would add up the gradients again", "raise data.batch_size instead of accumulating"),
        (trainer.get("gradient_clip_val"), "takes the curvature from gradients, which are others when they are clipped",
         "leave out trainer.gradient_clip_val"),
        (str(trainer.get("precision")) in ("16", "16-mixed"), "compares losses, which 16-bit precision scales from step to "
         "step", "set trainer.precision=32"),
    ):  # fmt: skip
        if is_so:
            raise UserError(f"LBFGS {why}", fix=f"{fix}, or choose another optimizer")


def build_callbacks(nodes: Config, data: Data) -> dict[str, pl.Callback]:
    """The callbacks of a config. Raises UserError for one that such data, or a run of ours, cannot have."""
    callbacks: dict[str, pl.Callback] = {}
    for name, node in nodes.items():
        if not node:
            continue
        callback = build(node, where=f"callbacks.{name}", kind=pl.Callback)
        what, fix = f"callbacks.{name} {type(callback).__name__}", f"leave it out (callbacks.{name}=null)"
        if getattr(callback, "item_kind", data.spec.kind) is not data.spec.kind:
            raise UserError(
                f"{what} is for {callback.item_kind.value}, and the data are {data.spec.kind.value}", fix=fix
            )
        if isinstance(callback, Checkpoint):
            raise UserError(
                f"{what} writes checkpoints, and they are written already",
                fix="leave it out, and set checkpoint.monitor, checkpoint.test_weights or checkpoint.every_n_steps",
            )
        for cls, why in UNUSABLE_CALLBACKS.items():
            if isinstance(callback, cls):
                raise UserError(f"{what} {why}", fix=fix)
        callbacks[name] = callback
    return callbacks


def build_trainer(config: Config, folder: Path, data: Data, callbacks: list[pl.Callback]) -> pl.Trainer:
    """The trainer of a run, which the callbacks and the table of its epochs watch."""
    record = {
        "format": FORMAT, "version": __version__, "config": config, "data": data.spec.fingerprint,
        "heard": data.train_val_checksums(),
    }  # fmt: skip
    table = EpochTable(folder / "metrics.csv", config["logger"]["csv"])
    node = {
        "num_sanity_val_steps": 0, "enable_progress_bar": False, "enable_model_summary": False, **config["trainer"],
        "default_root_dir": folder, "logger": [Events(folder)] if config["logger"]["tensorboard"] else [],
        "callbacks": [*callbacks, table], "use_distributed_sampler": False,
        "plugins": [AtomicIO(record), LightningEnvironment()],
    }  # fmt: skip
    node |= count_epochs(node, len(data.train_dataloader()))
    processes = count_processes({**node, "num_nodes": 1})
    if processes > 1 and config["threads"] is None and not rank_info():  # a cluster gives each process cores of its own
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    trainer: pl.Trainer = build(node, where="trainer", kind=pl.Trainer)
    period, batches = trainer.val_check_interval, count_batches(trainer, len(data.train_dataloader()))
    if isinstance(period, int) and period > batches:
        what = f"trainer.val_check_interval is {period}, and an epoch has {batches} batches"
        raise UserError(what, fix="lower it, or leave it out: every epoch ends with a validation")
    return trainer


def count_epochs(node: Config, batches: int) -> Config:
    """How long a training is, as Lightning's Trainer is to be told of it.

    Args:
        node: keys of the trainer.
        batches: of an epoch without limits.

    Raises:
        UserError: an epoch would have no batch, or no validation, or `min_epochs` can never be reached.
    """
    limit = node.get("overfit_batches") or node.get("limit_train_batches")
    used = batches if limit is None else min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    epochs, most, every = node["max_epochs"], node["max_steps"], node.get("val_check_interval")
    if most > 0:
        # Rounded up to whole epochs where those have an end as well; else `Saving` ends the training at the very step.
        steps = math.ceil(max(used, 1) / node.get("accumulate_grad_batches", 1))
        whole, needed = most // steps, math.ceil(most / steps)
        epochs, most = (needed, most) if epochs == -1 else (min(needed, epochs), -1)
        if (least := node.get("min_epochs") or 0) > (reached := epochs if most == -1 else whole):
            what = f"trainer.min_epochs is {least}, and trainer.max_steps ends the training after {reached} epochs"
            raise UserError(what, fix="raise trainer.max_steps")
    if isinstance(every, int) and every > used and node["check_val_every_n_epoch"]:
        what = f"trainer.val_check_interval is {every}, and an epoch has {used} batches: none would be validated"
        raise UserError(what, fix="lower it, or leave it out")
    # The last epoch has to end with a validation and a checkpoint, so their period divides the number of epochs.
    period = largest_divisor(epochs, node["check_val_every_n_epoch"] or 1)
    across = node["check_val_every_n_epoch"] is None and isinstance(every, int)  # counted without regard to epochs
    return {"max_epochs": epochs, "max_steps": most, "check_val_every_n_epoch": None if across else period}


def check_limits(trainer: pl.Trainer, data: Data, test: bool) -> None:
    """Raises UserError where a share of the batches is less than one of them."""
    loaders = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}
    for split, loader in loaders.items():
        share = getattr(trainer, f"limit_{split}_batches")
        if isinstance(share, float) and (split != "test" or test) and 0 < (count := len(loader())) * share < 1:
            what = f"trainer.limit_{split}_batches is {share}, which is less than one of {count} batches"
            raise UserError(what, fix="give a number of batches, as 1")


def one_process_trainer(**options: Any) -> pl.Trainer:
    """A trainer that only computes, in this process alone, whatever allocation of a cluster it is in."""
    return pl.Trainer(
        devices=1, plugins=[LightningEnvironment()], use_distributed_sampler=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of `number` that is at most `at_most`, which it is where `number` is -1, without an end."""
    return max(d for d in range(1, min(at_most, number) + 1) if number % d == 0) if number > 0 else at_most


def count_batches(trainer: pl.Trainer, batches: int) -> int:
    """How many of the training batches a trainer uses in an epoch."""
    limit = trainer.limit_train_batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def accumulated_batches(trainer: pl.Trainer, epoch: int) -> int:
    """The batches whose gradients are added up for a step of an epoch."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined] # of a trainer
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches


def training_steps(trainer: pl.Trainer, batches: int) -> int:
    """Optimiser steps of a whole training with so many `batches` an epoch on this rank.

    Lightning's `estimated_stepping_batches`, known before the training begins, and with a number of accumulated batches
    that depends on the epoch.
    """
    batches = count_batches(trainer, batches)
    epochs = range(max(trainer.max_epochs or 1, 1))
    steps = sum(math.ceil(batches / accumulated_batches(trainer, epoch)) for epoch in epochs)
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
