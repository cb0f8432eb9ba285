"""The processes of a run that a cluster has started, on one machine or several: how rank 0 and the others get together."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

import speechml.config.compose  # noqa: F401 (registers the functions of configs)
from speechml.contracts import Config
from speechml.engine.distributed import is_lost_connection, leave_group
from speechml.engine.fit import fit_and_test
from speechml.engine.parts import build_data, build_parts
from speechml.engine.process_setup import prepare
from speechml.engine.rank_info import RankInfo
from speechml.engine.signals import SIGNALS, Stop, Stopped
from speechml.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import TCPStore

FIRST_PORT, STORE_OFFSET = (
    15000,
    10000,
)  # of process groups, as Lightning has it, and how far above it our store listens
PATIENCE_S = 1800.0  # that a rank waits for the first one, as torch does: it may be packing the data
_store: TCPStore | None = None  # where rank 0 says what the others are to do; for all runs of a process


def export_for_lightning(info: RankInfo) -> None:
    """Say in the environment what Lightning looks for, whatever started the processes."""
    os.environ.update(
        MASTER_ADDR=info.address, MASTER_PORT=str(info.port), NODE_RANK=str(info.node),
        LOCAL_RANK=str(info.local_rank), WORLD_SIZE=str(info.world),
    )  # fmt: skip


def open_store(info: RankInfo) -> TCPStore:
    """The store that rank 0 keeps, and the others read.

    Raises:
        UserError: it cannot be kept, or reached.
    """
    global _store
    if _store is None:
        from torch.distributed import TCPStore

        port = info.port + STORE_OFFSET if info.port + STORE_OFFSET < 65536 else info.port - STORE_OFFSET
        try:
            _store = TCPStore(
                info.address, port, is_master=info.rank == 0, timeout=timedelta(seconds=PATIENCE_S),
                wait_for_workers=False,
            )  # fmt: skip
        except RuntimeError as error:  # of torch, as all that its stores raise
            raise UserError(
                f"rank {info.rank} cannot reach rank 0 at {info.address}:{port}", why=str(error).splitlines()[0],
                fix="set MASTER_ADDR to its address, and MASTER_PORT to a port that is free there",
            ) from error  # fmt: skip
    return _store


@contextmanager
def leader_session(info: RankInfo, run: str) -> Iterator[None]:
    """Inside, rank 0 works on a run; afterwards the other ranks stop waiting, should they not have been needed."""
    export_for_lightning(info)
    store = open_store(info)
    try:
        yield
    finally:
        store.set(f"end {run}", "")


def announce_run(folder: Path, checkpoint: Path | None) -> None:
    """Tell the other ranks to train the run in a folder, from a checkpoint or from the beginning."""
    if _store is not None:
        _store.set(f"begin {folder.name}", json.dumps([str(folder), str(checkpoint) if checkpoint else None]))


def wait_for_run(info: RankInfo, run: str) -> tuple[Path, Path | None] | None:
    """What rank 0 has another rank train: folder and checkpoint; None where there is nothing to do."""
    export_for_lightning(info)
    deadline = time.monotonic() + PATIENCE_S
    try:
        store = open_store(info)
        while not store.check([f"begin {run}"]):
            if store.check([f"end {run}"]) or time.monotonic() > deadline:
                return None
            time.sleep(0.1)
        folder, checkpoint = json.loads(store.get(f"begin {run}"))
    except (RuntimeError, UserError):  # rank 0 has ended, and has said why
        return None
    return Path(folder), Path(checkpoint) if checkpoint else None


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
