"""Processes of a run that a cluster has started, on one machine or several: by `srun`, or by `torchrun`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from speechml.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import TCPStore

FIRST_PORT, STORE_OFFSET = (
    15000,
    10000,
)  # of process groups, as Lightning has it, and how far above it our store listens
PATIENCE_S = 1800.0  # that a rank waits for the first one, as torch does: it may be packing the data
_store: TCPStore | None = None  # where rank 0 says what the others are to do; for all runs of a process


class RankInfo(NamedTuple):
    """A process among those of a run."""

    rank: int
    world: int
    local_rank: int
    node: int
    address: str  # of rank 0's machine
    port: int


def rank_info() -> RankInfo | None:
    """What the cluster says of this process; None where it was started alone."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        info = RankInfo(
            int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]), int(env["GROUP_RANK"]),
            env["MASTER_ADDR"], int(env["MASTER_PORT"]),
        )  # fmt: skip
    elif int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # which only tasks of srun have
        port = int(env.get("MASTER_PORT") or FIRST_PORT + int(env["SLURM_JOB_ID"]) % 10000)
        info = RankInfo(
            int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), int(env["SLURM_LOCALID"]),
            int(env["SLURM_NODEID"]), env.get("MASTER_ADDR") or _first_host(env), port,
        )  # fmt: skip
    else:
        return None
    return info if info.world > 1 else None


def _first_host(env: os._Environ[str]) -> str:
    from lightning.fabric.plugins.environments import SLURMEnvironment

    return SLURMEnvironment.resolve_root_node_address(env.get("SLURM_STEP_NODELIST") or env["SLURM_JOB_NODELIST"])


def check_rank_counts(info: RankInfo | None, processes: int, nodes: int) -> None:
    """Refuse a run for which the cluster has started too many processes, or too few.

    Raises:
        UserError: with the numbers.
    """
    if info is None and nodes > 1:
        raise UserError(
            f"trainer.num_nodes is {nodes}, and this process was started alone",
            fix=f"launch it with hydra/launcher=slurm, or by srun --nodes={nodes} --ntasks-per-node=DEVICES",
        )
    if info is None:
        return
    if info.world != processes:
        raise UserError(
            f"the cluster has started {info.world} processes, and the run has {processes}",
            why="trainer.devices times trainer.num_nodes", fix="make them equal",
        )  # fmt: skip
    if info.rank != info.node * (processes // nodes) + info.local_rank:
        raise UserError("the ranks are not numbered node by node", fix="leave --distribution out of srun's options")


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
def leader_session(info: RankInfo | None, run: str) -> Iterator[None]:
    """Inside, rank 0 works on a run; afterwards the other ranks stop waiting, should they not have been needed."""
    if info is None:
        yield
        return
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
