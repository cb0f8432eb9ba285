"""The training of a run, alone or of a sweep: a wrong config is refused before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from speechml.config.compose import resolve_config
from speechml.config.train_config import check_config
from speechml.contracts import Config
from speechml.engine.distributed import rank_info
from speechml.errors import UserError

if TYPE_CHECKING:
    from speechml.engine.life import Life
    from speechml.engine.parts import Data
    from speechml.engine.signals import Stop


def train_checked(cfg: DictConfig, job: Config | None = None) -> float | None:
    """As `engine.train.train`; a search space that nothing would search is refused, too.

    Args:
        job: Hydra's part of the job, of a run of a sweep.
    """
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra and hydra.mode == RunMode.RUN and (chosen := hydra.runtime.choices.get("hparams_search")):
        fix = "add -m to search, or leave it out for one run"
        raise UserError(f"hparams_search={chosen} describes many runs", fix=fix)
    try:
        check_config(resolve_config(cfg))
    except UserError:
        if (rank := rank_info()) and rank.rank > 0:  # rank 0 is refused alike, and says so
            return None
        raise
    from speechml.engine.train import train

    if job is None:
        return train(cfg)
    from speechml.sweep.trial import trial_of

    return train(cfg, trial_of(job))


def open_checked(cfg: DictConfig, folder: Path, job: Config, stop: Stop, like: Data | None) -> tuple[Life, Data]:
    """Begin a run of a sweep that is to be trained together with others; its life, and its data.

    Args:
        folder: of the run.
        job: Hydra's part of the job.
        stop: that all of them have in common.
        like: data of the same recordings, divided alike, that were read before.
    """
    from speechml.engine.train import open_life
    from speechml.sweep.trial import trial_of

    return open_life(cfg, folder, trial_of(job), stop, like)
