"""The parts of a run: data, task and trainer, each built once and checked while it is built, before a folder exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment

from speechml import __version__, contracts
from speechml.callbacks.epochs import EpochTable
from speechml.config.compose import without_secrets
from speechml.config.instantiate import build, import_class, parameters
from speechml.config.places import remember_places
from speechml.config.third_party import Trainer
from speechml.contracts import Config, ItemKind, Trial, missing_members
from speechml.data.base import BaseDataModule, Corpus
from speechml.engine.checkpoint import FORMAT, AtomicIO, build_task
from speechml.engine.distributed import count_processes, rank_info
from speechml.engine.saving import Best, Saving
from speechml.engine.signals import Stop
from speechml.engine.tensorboard_logger import Events
from speechml.errors import UnusableData, UserError
from speechml.metrics import check_scores, choose_modes, wanted_scores
from speechml.process import set_seed
from speechml.runs.card import PublishedCard
from speechml.tasks.base import Task
from speechml.tasks.training_length import check_limits, count_batches, count_epochs, training_steps

if TYPE_CHECKING:
    from speechml.engine.plain_data import PlainData
    from speechml.engine.plain_task import PlainTask

    Data = BaseDataModule[Corpus] | PlainData
FIGURES = {ItemKind.PAIRS: "Figures", ItemKind.CLIPS: "WordFigures", ItemKind.ROWS: "GenreFigures"}
# Of Lightning's callbacks, those that a run of ours cannot have, and why.
UNUSABLE_CALLBACKS: dict[type[pl.Callback], str] = {
    pl.callbacks.BatchSizeFinder: "would train before the training; try values of data.batch_size instead",
    pl.callbacks.LearningRateFinder: "would train before the training; find_lr=true finds a rate",
    Checkpoint: "would write other checkpoints; set checkpoint.monitor, test_weights or every_n_steps",
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
        module, data_module: what Lightning trains, and takes batches from: task and data, or what stands behind them.
        sets: further test sets, by name.
    """

    config: Config
    data: Data
    task: Task | PlainTask
    trainer: pl.Trainer
    saving: Saving
    best: Best | None
    stop: Stop
    trial: Trial | None
    callbacks: dict[str, pl.Callback]
    module: pl.LightningModule
    data_module: pl.LightningDataModule
    sets: dict[str, BaseDataModule[Corpus]]


def watched_score(config: Config) -> str:
    """The validation score that a search goes by: `objective`, else `checkpoint.monitor`."""
    return str(config["objective"] or config["checkpoint"]["monitor"])


def build_data(config: Config, like: Data | None = None) -> Data:
    """The data module of a config, its recordings read; one that does not keep the contract behind `PlainData`.

    Args:
        like: of a config that differs in `seed` and `batch_size` alone, which do not decide what is read.

    Raises:
        UnusableData: they cannot be used.
    """
    try:
        node = config["data"]
        if missing_members(import_class(node.get("_target_"), "data."), contracts.DataModule):
            from speechml.config.nodes import build_inner

            node = build_inner(node, "data")
        module = build(node, where="data", kind=pl.LightningDataModule)
        data: Data = module
        if missing_members(module, contracts.DataModule):
            from speechml.engine.plain_data import PlainData
            from speechml.engine.plain_task import explain_failure

            with explain_failure(module, "data"):
                data = PlainData(module, config["seed"])
        elif like is None and not data.splits["train"]:
            what = f"these data are a test set (split protocol {data.card().protocol}): there is nothing to train on"
            raise UserError(what, fix="score a run on them: speechml-evaluate run=FOLDER data=...")
        if isinstance(like, BaseDataModule) and isinstance(data, BaseDataModule):
            from speechml.data.sharing import share_corpus

            share_corpus(data, like)
        data.card()
        remember_places(config)
    except UserError as error:
        raise UnusableData(error.what, error.why, error.fix) from error
    return data


def build_parts(
    config: Config, data: Data, folder: Path, trial: Trial | None = None, stop: Stop | None = None
) -> Parts:
    """Build task and trainer of a run around its data; nothing is written into its folder.

    Raises:
        UserError: for what would fail, or hang, in the middle of the run.
    """
    check_compatible(config, data)
    config = choose_modes(config)
    model = import_class(config["model"]["_target_"], "model.")
    takes_classes = "classes" in parameters(model) | config["model"].keys() and not missing_members(
        model, contracts.Task
    )
    if takes_classes and config["model"].get("classes") is None:  # the outputs are the data's classes
        config = {**config, "model": {**config["model"], "classes": list(data.spec.classes) or None}}
    set_seed(config["seed"])
    task, sets = prepare_task(config, data)
    stop = stop or Stop()
    module = task if isinstance(task, pl.LightningModule) else task.module
    data_module = data if isinstance(data, pl.LightningDataModule) else data.module
    saving = Saving(folder, config, stop, by_epoch=module is not task or data_module is not data)
    best = Best(folder, config["checkpoint"]["monitor"], config["checkpoint"]["mode"], saving, wanted_scores(config))
    named = build_callbacks(config["callbacks"], data)
    callbacks: list[pl.Callback] = [saving, best, *named.values()]
    if (decay := config["trainer"].get("ema")) is not None:
        from speechml.engine.averaging import averaging

        callbacks.append(averaging(decay, named))
    callbacks += trial.callbacks(watched_score(config), count_processes(config["trainer"])) if trial else []
    loggers: list[Logger] = [Events(folder)] if config["logger"]["tensorboard"] else []
    further = {name: node for name, node in config["logger"].items() if node and name not in ("tensorboard", "csv")}
    if further:
        from speechml.engine.further_loggers import build_loggers, find_journal

        loggers += build_loggers(further, folder)
        saving.journal = find_journal(loggers)
    trainer = build_trainer(config, folder, data, callbacks, loggers)
    if config["trainer"].get("compile"):
        from speechml.engine.compiling import compile_network

        compile_network(module, trainer.strategy.root_device)
    data.trainer = trainer  # it knows how many ranks share a batch
    check_limits(trainer, data, config["test"])
    if isinstance(task, pl.LightningModule):
        steps = training_steps(trainer, count_batches(data.train_dataloader()) or 0)
        task.build_optimization(steps, trainer.max_epochs or 1)
    keeps_best = not trainer.fast_dev_run  # type: ignore[attr-defined] # of a trainer's flags
    return Parts(
        config, data, task, trainer, saving, best if keeps_best else None, stop, trial, named, module, data_module, sets
    )


def prepare_task(config: Config, data: Data) -> tuple[Task | PlainTask, dict[str, BaseDataModule[Corpus]]]:
    """The task of a config, agreed with its data, and its further test sets; one without the contract behind `PlainTask`.

    Raises:
        UserError: it cannot learn from such data, or will not have a score that something goes by.
    """
    task, names = build_task(config, "the config"), config["test"] and config.get("test_sets")
    if config["init"]["freeze"]:
        from speechml.engine.warm_start import freeze

        freeze(task, config["init"]["freeze"])
    if missing_members(task, contracts.Task):
        from speechml.engine.plain_task import PlainTask

        if names:
            raise UserError("test_sets need a task that keeps speechml's contract", fix="see docs/own-modules.md")
        check_scores(config, None)
        return PlainTask(task, data, config), {}
    published = PublishedCard.from_config(config["published"]).scores
    data.scores_training = any(name.startswith("train/") for name in published)
    sets: dict[str, BaseDataModule[Corpus]] = {}
    known = cast("BaseDataModule[Corpus]", data)  # else it is refused ahead
    if names:
        from speechml.engine.test_sets import build_sets

        sets = build_sets(config, known, task, count_processes(config["trainer"]))
    task.setup_for(known)
    task.add_metrics(config.get("metrics") or {})
    check_scores(config, task.score_names() if isinstance(task, Task) else None)
    return task, sets


def check_compatible(config: Config, data: Data) -> None:
    """Raises UserError where the task cannot learn from the data, or some process would get none; before it is built."""
    task_class = import_class(config["model"].get("_target_"), "model.")
    if missing_members(task_class, contracts.Task):
        is_own = task_class.configure_optimizers is not pl.LightningModule.configure_optimizers  # type: ignore[attr-defined]
        for group in ("optimizer", "scheduler", "metrics") if is_own else ("metrics",):
            if config.get(group):
                what = f"{task_class.__name__} configures its own {group}"
                raise UserError(what, why="the config's has no effect", fix=f"add {group}=null")
    elif not isinstance(data, pl.LightningDataModule):
        fix = "let it be a subclass of speechml.data.BaseDataModule"
        raise UserError(
            f"{task_class.__name__} cannot learn from {data.name}, which does not say what its items are", fix=fix
        )
    elif not config["optimizer"]:
        raise UserError("optimizer names no class to build", fix="choose optimizer=NAME")
    if issubclass(task_class, Task):
        task_class.check_data(data.spec)
    ranks = count_processes(config["trainer"])
    if not isinstance(data, pl.LightningDataModule):
        return
    optimizer = config["optimizer"] and import_class(config["optimizer"].get("_target_"), "optimizer.")
    if optimizer and issubclass(optimizer, torch.optim.LBFGS):
        from speechml.engine.line_search import check_closure

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


def build_callbacks(nodes: Config, data: Data) -> dict[str, pl.Callback]:
    """The callbacks of a config; `figures` and `listening` follow the data.

    Raises:
        UserError: for one that such data, or a run of ours, cannot have.
    """
    callbacks: dict[str, pl.Callback] = {}
    kind = data.spec.kind
    for name, node in nodes.items():
        if not node:
            continue
        callback = build(node, where=f"callbacks.{name}", kind=pl.Callback)
        what, fix = f"callbacks.{name} {type(callback).__name__}", f"leave it out (callbacks.{name}=null)"
        if getattr(callback, "item_kind", kind) is not kind:
            if name not in ("figures", "listening"):
                raise UserError(f"{what} is for {callback.item_kind.value}, and the data are {kind.value}", fix=fix)
            if name == "listening" or kind not in FIGURES:
                continue
            callback = build({"_target_": f"speechml.callbacks.{FIGURES[kind]}"}, where=f"callbacks.{name}")
        for cls, why in UNUSABLE_CALLBACKS.items():
            if isinstance(callback, cls):
                raise UserError(f"{what} {why}", fix=fix)
        callbacks[name] = callback
    return callbacks


def build_trainer(
    config: Config, folder: Path, data: Data, callbacks: list[pl.Callback], loggers: list[Logger]
) -> pl.Trainer:
    """The trainer of a run, which the callbacks, the loggers and the table of its epochs watch.

    Raises:
        UserError: a length of the training that ends without validation, or an argument that Lightning refuses.
    """
    record = {
        "format": FORMAT, "version": __version__, "config": without_secrets(config), "data": data.spec.fingerprint,
        "heard": data.train_val_checksums(), "id": folder.name,
    }  # fmt: skip
    table = EpochTable(folder / "metrics.csv", config["logger"]["csv"])
    own = {name: value for name, value in config["trainer"].items() if name not in Trainer.OURS}
    node = {
        "num_sanity_val_steps": 0, "enable_progress_bar": False, "enable_model_summary": False, **own,
        "default_root_dir": folder, "logger": loggers,
        "callbacks": [*callbacks, table], "use_distributed_sampler": False,
        "plugins": [AtomicIO(record), LightningEnvironment()],
    }  # fmt: skip
    if profiler := own.get("profiler"):
        from speechml.engine.profiling import build_profiler

        node["profiler"] = build_profiler(profiler, folder)
    node |= count_epochs(node, count_batches(data.train_dataloader()))
    processes = count_processes({**node, "num_nodes": 1})
    if processes > 1 and config["threads"] is None and not rank_info():  # a cluster gives each process cores of its own
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    trainer: pl.Trainer = build(node, where="trainer", kind=pl.Trainer)
    return trainer
