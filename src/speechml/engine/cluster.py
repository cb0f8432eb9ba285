"""Processes of a run that a cluster has started, on one machine or several: by `srun`, or by `torchrun`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from speechml.errors import UserError

PORTS, TALK = 15000, 10000  # the first port of process groups, as Lightning has it, and how far above them ranks talk
PATIENCE_S = 1800.0  # that a rank waits for the first one, as torch does: it may be packing the data
store: Any = None  # where rank 0 says what the others are to do; for all runs of a process


class Started(NamedTuple):
    """A process among those of a run."""

    rank: int
    world: int
    local_rank: int
    node: int
    address: str  # of rank 0's machine
    port: int


def started() -> Started | None:
    """What the cluster says of this process; None where it was started alone."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        place = Started(
            int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]), int(env["GROUP_RANK"]),
            env["MASTER_ADDR"], int(env["MASTER_PORT"]),
        )  # fmt: skip
    elif int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # which only tasks of srun have
        port = int(env.get("MASTER_PORT") or PORTS + int(env["SLURM_JOB_ID"]) % 10000)
        place = Started(
            int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), int(env["SLURM_LOCALID"]),
            int(env["SLURM_NODEID"]), env.get("MASTER_ADDR") or _first_host(env), port,
        )  # fmt: skip
    else:
        return None
    return place if place.world > 1 else None


def _first_host(env: os._Environ[str]) -> str:
    from lightning.fabric.plugins.environments import SLURMEnvironment

    return SLURMEnvironment.resolve_root_node_address(env.get("SLURM_STEP_NODELIST") or env["SLURM_JOB_NODELIST"])


def refuse_other_numbers(place: Started | None, processes: int, nodes: int) -> None:
    """Refuse a run for which the cluster has started too many processes, or too few.

    Raises:
        UserError: with the numbers.
    """
    if place is None and nodes > 1:
        raise UserError(
            f"trainer.num_nodes is {nodes}, and this process was started alone; launch it with hydra/launcher=slurm, or by "
            f"srun --nodes={nodes} --ntasks-per-node=DEVICES"
        )
    if place is None:
        return
    if place.world != processes:
        raise UserError(
            f"the cluster has started {place.world} processes, and the run has {processes} (trainer.devices times "
            "trainer.num_nodes); make them equal"
        )
    if place.rank != place.node * (processes // nodes) + place.local_rank:
        raise UserError("the processes are not numbered machine by machine; leave --distribution out of srun's words")


def known_to_lightning(place: Started) -> None:
    """Say in the environment what Lightning looks for, whatever started the processes."""
    os.environ.update(
        MASTER_ADDR=place.address, MASTER_PORT=str(place.port), NODE_RANK=str(place.node),
        LOCAL_RANK=str(place.local_rank), WORLD_SIZE=str(place.world),
    )  # fmt: skip


def _talk(place: Started) -> Any:
    """The store that rank 0 keeps, and the others read.

    Raises:
        UserError: it cannot be kept, or reached.
    """
    global store
    if store is None:
        from torch.distributed import TCPStore

        port = place.port + TALK if place.port + TALK < 65536 else place.port - TALK
        try:
            store = TCPStore(
                place.address,
                port,
                is_master=place.rank == 0,
                timeout=timedelta(seconds=PATIENCE_S),
                wait_for_workers=False,
            )
        except RuntimeError as error:  # of torch, as all that its stores raise
            raise UserError(
                f"rank {place.rank} cannot talk to rank 0 at {place.address}:{port} ({str(error).splitlines()[0]}); set "
                "MASTER_ADDR to its address, and MASTER_PORT to a port that is free there"
            ) from error
    return store


@contextmanager
def led(place: Started | None, run: str) -> Iterator[None]:
    """What rank 0 does of a run; the others are told when it is over, should they not have been needed."""
    if place is None:
        yield
        return
    known_to_lightning(place)
    told = _talk(place)
    try:
        yield
    finally:
        told.set(f"end {run}", "")


def begin(folder: Path, checkpoint: Path | None) -> None:
    """Tell the other ranks to train the run in a folder, from a checkpoint or from the beginning."""
    if store is not None:
        store.set(f"begin {folder.name}", json.dumps([str(folder), str(checkpoint) if checkpoint else None]))


def told(place: Started, run: str) -> tuple[Path, Path | None] | None:
    """What rank 0 tells another rank to train: folder and checkpoint; None where there is nothing to do."""
    known_to_lightning(place)
    until = time.monotonic() + PATIENCE_S
    try:
        talk = _talk(place)
        while not talk.check([f"begin {run}"]):
            if talk.check([f"end {run}"]) or time.monotonic() > until:
                return None
            time.sleep(0.1)
        folder, checkpoint = json.loads(talk.get(f"begin {run}"))
    except (RuntimeError, UserError):  # rank 0 has ended, and has said why
        return None
    return Path(folder), Path(checkpoint) if checkpoint else None
