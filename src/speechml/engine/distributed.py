"""Which of a run's processes this one is, and how many there are."""

from __future__ import annotations

import os
from typing import NamedTuple

from speechml.contracts import Config
from speechml.errors import UserError

FIRST_PORT = 15000  # of process groups, as Lightning has it


class RankInfo(NamedTuple):
    """A process among those of a run."""

    rank: int
    world: int
    local_rank: int
    node: int
    address: str  # of rank 0's machine
    port: int


def rank_info() -> RankInfo | None:
    """What the cluster says of this process; None where it was started alone. Nothing heavy is imported.

    Raises:
        UserError: variables of the cluster are missing, or no numbers.
    """
    try:
        return _rank_info()
    except (KeyError, ValueError) as error:
        what = "the environment does not say which of a cluster's processes this one is"
        fix = "start it by srun or torchrun, or unset TORCHELASTIC_RUN_ID and SLURM_STEP_NUM_TASKS"
        raise UserError(what, f"{type(error).__name__}: {error}", fix) from error


def _rank_info() -> RankInfo | None:
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
            int(env["SLURM_NODEID"]), env.get("MASTER_ADDR") or _first_host(), port,
        )  # fmt: skip
    else:
        return None
    return info if info.world > 1 else None


def _first_host() -> str:
    from lightning.fabric.plugins.environments import SLURMEnvironment

    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ["SLURM_JOB_NODELIST"]
    return SLURMEnvironment.resolve_root_node_address(nodes)


def count_processes(trainer: Config) -> int:
    """How many processes a trainer's config asks for: devices of one machine times machines."""
    import torch

    devices, accelerator = trainer.get("devices", "auto"), trainer.get("accelerator", "auto")
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    if isinstance(devices, str) and "," in devices:
        devices = [d for d in devices.split(",") if d.strip()]
    if isinstance(devices, list):
        count = len(devices)
    elif str(devices) in ("auto", "-1"):
        count = torch.cuda.device_count() if on_gpu else 1
    else:
        count = int(devices)
    return max(1, count) * int(trainer.get("num_nodes") or 1)


def check_rank_counts(info: RankInfo | None, processes: int, nodes: int) -> None:
    """Raises UserError where a cluster has started too many processes for a run, or too few."""
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
