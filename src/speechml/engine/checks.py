"""What is refused before a run has a folder: settings that would fail, or hang, in the middle of it."""

from __future__ import annotations

from typing import Any

from speechml.contracts import Config
from speechml.engine.distributed import processes
from speechml.errors import UserError


def check_config(config: Config) -> None:
    """Refuse values that would fail, or hang, in the middle of the run.

    Raises:
        UserError: for the first such value.
    """
    ranks = processes(config["trainer"])
    if ranks > 1 and config["optimizer"].get("_target_", "").endswith(".LBFGS"):
        raise UserError(
            f"LBFGS searches along a line on each process's own loss, and {ranks} processes would wait for each other "
            "for ever; add trainer.devices=1, or choose another optimizer"
        )


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
