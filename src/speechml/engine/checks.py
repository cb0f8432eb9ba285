"""What is refused before a run has a folder: settings that would fail, or hang, in the middle of it."""

from __future__ import annotations

from typing import Any

from speechml.contracts import Config
from speechml.engine.distributed import processes
from speechml.errors import UserError

# Those in which windows, filter banks and scores stay in float32; the other names of Lightning round them as well.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")


def check_values(config: Config) -> None:
    """Refuse values of another kind in the keys of train.yaml itself, before anything is read."""
    seed, threads = config["seed"], config["threads"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed is {seed}; it must be a whole number")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UserError(f"threads is {threads}; it must be a whole number above 0, or null for all cores")
    for key in ("test", "report", "redo", "find_lr"):
        if not isinstance(config[key], bool):
            raise UserError(f"{key} is {config[key]}; it can be true or false")


def check_config(config: Config) -> None:
    """Refuse values that would fail, or hang, in the middle of the run.

    Raises:
        UserError: for the first such value.
    """
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


def check_data_size(config: Config, data: Any) -> None:
    """Refuse data of which some rank would get nothing.

    Raises:
        UserError: with the numbers.
    """
    ranks = processes(config["trainer"])
    smallest = data.spec.min_batch_per_rank * ranks
    if config["data"]["batch_size"] < smallest:
        raise UserError(
            f"data.batch_size is {config['data']['batch_size']}; {ranks} processes need {smallest} at least"
        )
    few = {part: count for part, count in data.card().recordings.items() if count < ranks}
    if few:
        raise UserError(
            f"{ranks} processes need as many {data.spec.item_name} in every part, but there are {few}; set trainer.devices"
        )
