"""The trial that a run belongs to, while a search computes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from speechml.errors import UserError

SWEEPER = "hydra_plugins.speechml_optuna.OptunaSweeper"


class Pruned(Exception):
    """A run was stopped because the trials before it did better at the same epoch."""


class Place(NamedTuple):
    """Which execution of which trial of which search."""

    folder: Path
    number: int
    execution: int
    pruner: str | None
    pruner_options: dict[str, Any]


def current() -> Place | None:
    """The trial that this process computes, from Hydra's own config of the job; None where it computes none.

    Every launcher hands that config on, so this holds in worker processes and on other machines as well.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or hydra.sweeper.get("_target_") != SWEEPER:
        return None
    job = OmegaConf.select(hydra, "job.num")  # type: ignore[arg-type] # a DictConfig, whatever Hydra declares
    if not isinstance(job, int) or job < 0:  # the run after the search is none of its trials
        return None
    sweeper = hydra.sweeper
    return Place(
        Path(hydra.sweep.dir), job // sweeper.executions_per_trial, job % sweeper.executions_per_trial,
        sweeper.pruner, dict(sweeper.pruner_options or {}),
    )  # fmt: skip


def refuse_search_alone() -> None:
    """Refuse a search space that nothing would search."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN:
        chosen = HydraConfig.get().runtime.choices.get("hparams_search")
        if chosen:
            raise UserError(
                f"hparams_search={chosen} describes many runs; add -m to search, or leave it out for one run"
            )
