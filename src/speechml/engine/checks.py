"""What is refused before a run has a folder: settings that would fail, or hang, in the middle of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechml.config.instantiate import build, import_class
from speechml.engine.checkpoint import task_of
from speechml.engine.distributed import processes
from speechml.errors import UserError

# Those in which windows, filter banks and scores stay in float32; the other names of Lightning round them as well.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")


def with_classes(config: dict[str, Any], data: Any) -> dict[str, Any]:
    """The config with the names of the data's classes, where the model has outputs for classes and names none."""
    if "classes" in config["model"] and config["model"]["classes"] is None:
        return {**config, "model": {**config["model"], "classes": getattr(data, "classes", None)}}
    return config


def refuse_other_data(folder: Path, card: dict[str, Any], data_card: dict[str, Any]) -> None:
    """Refuse to continue, or to show as done, a run whose recordings have changed since."""
    if card["data"]["fingerprint"] != data_card["fingerprint"]:
        raise UserError(
            f"{folder} was made from other recordings ({card['data']['fingerprint']}, now {data_card['fingerprint']}); "
            "bring the old ones back, or add redo=true to train again (the old run is kept)"
        )


def refuse_wrong_kinds(config: dict[str, Any]) -> None:
    """Refuse values of another kind in the keys of train.yaml itself, before anything is read."""
    seed, threads = config["seed"], config["threads"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed is {seed}; it must be a whole number")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UserError(f"threads is {threads}; it must be a whole number above 0, or null for all cores")
    for key in ("test", "report", "redo", "find_lr"):
        if not isinstance(config[key], bool):
            raise UserError(f"{key} is {config[key]}; it can be true or false")


def refuse_unusable(config: dict[str, Any], data: Any, data_card: dict[str, Any]) -> None:
    """Refuse before a folder exists what would otherwise fail, or hang, in the middle of the run."""
    kind: Any = import_class(config["model"].get("_target_"), "model.")
    if hasattr(kind, "check_data"):
        kind.check_data(data)
    task: Any = task_of(config, "the config")
    task.setup_for(data)
    keep, ranks = config["checkpoint"], processes(config["trainer"])
    for key, allowed in (("test_weights", ("best", "last")), ("mode", ("min", "max"))):
        if keep[key] not in allowed:
            raise UserError(f"checkpoint.{key} is {keep[key]}; it can be {' or '.join(allowed)}")
    for key, kinds in (("every_n_steps", (int,)), ("every_s", (int, float))):
        value = keep[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not value > 0):
            what = "a number of seconds" if key == "every_s" else "a whole number"
            raise UserError(f"checkpoint.{key} is {value}; it must be {what} above 0, or null for never")
    if ranks > 1 and config["optimizer"].get("_target_", "").endswith(".LBFGS"):
        raise UserError(
            f"LBFGS searches along a line on each process's own loss, and {ranks} processes would wait for each other "
            "for ever; add trainer.devices=1, or choose another optimizer"
        )
    if str(config["trainer"]["precision"]) not in PRECISIONS:
        raise UserError(f"trainer.precision is {config['trainer']['precision']}; it can be {', '.join(PRECISIONS)}")
    period = config["trainer"]["check_val_every_n_epoch"]
    if period is not None and period < 1:
        raise UserError(f"trainer.check_val_every_n_epoch is {period}; it must be at least 1")
    if config["data"]["batch_size"] < data.least * ranks:
        raise UserError(
            f"data.batch_size is {config['data']['batch_size']}; {ranks} processes need {data.least * ranks} at least"
        )
    few = {part: count for part, count in data_card["recordings"].items() if count < ranks}
    if few:
        raise UserError(
            f"{ranks} processes need as many {data.called} in every part, but there are {few}; set trainer.devices"
        )
    if ranks == 1:  # what the trainer itself refuses, a device that is not there for one
        build(
            {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **config["trainer"]},
            where="trainer",
        )
