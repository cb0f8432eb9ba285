"""The parts of a run: data, task and trainer, each built once and checked while it is built, before a folder exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl

from speechml import contracts
from speechml.config.instantiate import build, import_class
from speechml.contracts import Config, Trial, missing_members
from speechml.data.base import BaseDataModule, Corpus
from speechml.engine.checkpoint import build_task
from speechml.engine.distributed import FrozenDDP, processes
from speechml.engine.process_setup import set_seed
from speechml.engine.saving import Best, Saving
from speechml.engine.signals import Stop
from speechml.engine.trainer import build_trainer, training_steps
from speechml.errors import UnusableData, UserError
from speechml.tasks.base import Task


@dataclass
class Parts:
    """What a run consists of.

    Attributes:
        config: of the run, the names of the data's classes filled in.
        best: keeps the best checkpoint; None where nothing is saved.
        stop: whether a signal has asked the run to stop.
        trial: of a search that the run belongs to.
    """

    config: Config
    data: BaseDataModule[Corpus]
    task: Task
    trainer: pl.Trainer
    saving: Saving
    best: Best | None
    stop: Stop
    trial: Trial | None

    def resume_from(self, checkpoint: Path | None) -> None:
        """Say from which checkpoint further ranks are to go on."""
        if isinstance(self.trainer.strategy, FrozenDDP):
            self.trainer.strategy.checkpoint = checkpoint.absolute() if checkpoint else None


def build_data(config: Config) -> BaseDataModule[Corpus]:
    """The data module of a config, its recordings read: what is wrong with them is said here.

    Raises:
        UnusableData: they cannot be used.
    """
    try:
        data: BaseDataModule[Corpus] = build(config["data"], where="data")
        if missing := missing_members(data, contracts.DataModule):
            name = type(data).__name__
            raise UserError(f"{name} lacks {', '.join(missing)}", fix="speechml.data.base.BaseDataModule has them")
        data.card()
    except UserError as error:
        raise UnusableData(error.what, error.why, error.fix) from error
    return data


def build_parts(
    config: Config, data: BaseDataModule[Corpus], folder: Path, trial: Trial | None = None, stop: Stop | None = None
) -> Parts:
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
    check_compatible(config, data)
    config = with_classes(config, data)
    set_seed(config["seed"])
    task = build_task(config, "the config")
    task.setup_for(data)
    task.add_metrics(config.get("metrics") or {})
    stop = stop or Stop()
    callbacks = trial.callbacks(watched_score(config), processes(config["trainer"])) if trial else []
    trainer, saving, best = build_trainer(config, folder, data, callbacks, stop)
    data.trainer = trainer  # it knows how many ranks share a batch
    task.build_optimization(training_steps(trainer, len(data.train_dataloader())))
    return Parts(config, data, task, trainer, saving, best, stop, trial)


def watched_score(config: Config) -> str:
    """The validation score that a search goes by: `objective`, else `checkpoint.monitor`."""
    return str(config["objective"] or config["checkpoint"]["monitor"])


def with_classes(config: Config, data: BaseDataModule[Corpus]) -> Config:
    """The config with the names of the data's classes, where the model has outputs for classes and names none."""
    if "classes" in config["model"] and config["model"]["classes"] is None:
        return {**config, "model": {**config["model"], "classes": list(data.spec.classes) or None}}
    return config


def check_compatible(config: Config, data: BaseDataModule[Corpus]) -> None:
    """Refuse data that the task cannot learn from, or of which some process would get nothing; before anything is built.

    Raises:
        UserError: with what would do.
    """
    task_class = import_class(config["model"].get("_target_"), "model.")
    if missing := missing_members(task_class, contracts.Task):
        raise UserError(f"{task_class.__name__} lacks {', '.join(missing)}", fix="speechml.tasks.base.Task has them")
    if issubclass(task_class, Task):
        task_class.check_data(data.spec)
    ranks = processes(config["trainer"])
    if ranks > 1 and str(config["optimizer"].get("_target_")).endswith(".LBFGS"):
        raise UserError(
            f"LBFGS searches along a line on each process's own loss, and {ranks} processes would wait for each other "
            "for ever", fix="add trainer.devices=1, or choose another optimizer",
        )  # fmt: skip
    size, smallest = config["data"]["batch_size"], data.spec.min_batch_per_rank * ranks
    if size < smallest:
        raise UserError(f"data.batch_size is {size}; {ranks} processes need {smallest} at least")
    few = {split: count for split, count in data.card().recordings.items() if count < ranks}
    if few:
        raise UserError(
            f"{ranks} processes need as many {data.spec.item_name} in every part, but there are {few}",
            fix="set trainer.devices",
        )
