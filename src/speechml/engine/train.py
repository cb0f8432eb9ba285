"""One run from its composed config to its scores: find its folder, build its parts, train, test, record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from speechml.config.compose import resolve_config
from speechml.config.train_config import check_config, fill_keys, make_paths_absolute
from speechml.contracts import Config, Trial
from speechml.engine.distributed import check_rank_counts, count_processes, rank_info
from speechml.engine.fit import fit
from speechml.engine.life import Life, complete, lead
from speechml.engine.parts import build_data
from speechml.engine.signals import Stop
from speechml.process import prepare_process
from speechml.runs.identity import run_id

if TYPE_CHECKING:
    from speechml.engine.parts import Data


def train(cfg: DictConfig, trial: Trial | None = None) -> float | None:
    """Train and test what a config describes, unless that is done; resume it where it stopped.

    Args:
        cfg: as Hydra composes it.
        trial: of a search that the run belongs to.

    Returns:
        The validation score that `objective` names, else `checkpoint.monitor`, for sweepers.

    Raises:
        UserError: an unknown key, unusable data, a run that another process is training.
        Pruned: the search that the run belongs to can do without it.
    """
    config = _prepare(cfg)
    folder = Path(config["paths"]["runs"]) / config["name"] / run_id(cfg)
    rank = rank_info()
    check_rank_counts(rank, count_processes(config["trainer"]), int(config["trainer"]["num_nodes"] or 1))
    if rank is None:
        return _lead(config, folder, trial)
    from speechml.engine.ranks import follow, leader_session

    if rank.rank > 0:
        follow(rank, folder.name)
        return None
    with leader_session(rank, folder.name):
        return _lead(config, folder, trial)


def _prepare(cfg: DictConfig) -> Config:
    """The checked config of a run; the process is made ready to compute it."""
    config = make_paths_absolute(fill_keys(check_config(resolve_config(cfg))))
    if config["engine"] == "fused":
        from speechml.fused.training import check_fusable

        check_fusable(config)
    prepare_process(1 if config["engine"] == "fused" else config["threads"])
    return config


def open_life(cfg: DictConfig, folder: Path, trial: Trial | None, stop: Stop, like: Data | None) -> tuple[Life, Data]:
    """The life of a run that is trained together with others, and its data; see `lead`.

    Args:
        stop: that all of them have in common.
        like: data of the same recordings, divided alike, that were read before.
    """
    config = _prepare(cfg)
    data = build_data(config, like)
    return lead(config, folder, trial, data, stop), data


def _lead(config: Config, folder: Path, trial: Trial | None) -> float | None:
    """`train` on the first rank."""
    if config["engine"] == "fused":
        from speechml.fused.training import train_alone

        return complete(lead(config, folder, trial), train_alone)
    return complete(lead(config, folder, trial), lambda run: fit(run.parts, run.checkpoint))
