"""What the further ranks of a run do; rank 0 holds the folder, and says what goes wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from omegaconf import OmegaConf

import speechml.config.resolvers  # noqa: F401 (registers them)
from speechml.contracts import Config
from speechml.engine.cluster import RankInfo, wait_for_run
from speechml.engine.distributed import is_lost_connection, leave_group
from speechml.engine.fit import fit_and_test
from speechml.engine.parts import build_data, build_parts
from speechml.engine.process import prepare
from speechml.engine.signals import SIGNALS, Stop, Stopped
from speechml.errors import UserError


def follow(info: RankInfo, run: str) -> None:
    """Be one of the ranks that a cluster has started for a run, but the first, as long as that one wants it.

    Whatever this rank is refused or loses, rank 0 is as well, and says so; its exit code counts.
    """
    environment = dict(os.environ)
    try:
        announced = wait_for_run(info, run)
        if announced is not None:
            train_rank(*announced)
    finally:
        leave_group(environment)


def train_rank(folder: Path, checkpoint: Path | None = None) -> int:
    """Be one further rank of the run in `folder`; whatever it is refused, rank 0 is as well, and says so.

    Returns:
        The exit code.
    """
    loaded = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True)
    assert isinstance(loaded, dict)
    config: Config = {str(key): value for key, value in loaded.items()}
    prepare(config)
    try:
        stop = Stop()
        with stop.listening():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            parts = build_parts(config, build_data(config), folder, stop=stop)
            fit_and_test(parts, folder, checkpoint, [], quiet=True)
    except Stopped:
        return 0  # as all ranks
    except UserError:
        return 2
    except RuntimeError as error:
        if is_lost_connection(error):  # to a rank that has ended, which says why
            return 1
        raise
    return 0
