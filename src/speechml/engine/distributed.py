"""Several processes for one run: every rank starts from the run's frozen config, never from the command line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from speechml import __version__
from speechml.contracts import Config
from speechml.engine.lightning_compat import LaunchingDDP, RankLauncher
from speechml.engine.process_setup import start_worker
from speechml.engine.rank_info import rank_info
from speechml.errors import UserError

GRACE_S = 20.0  # that a rank gets to notice by itself that another has ended
other_ranks: list[subprocess.Popen[bytes]] = []  # of the run that this process leads


class FrozenDDP(LaunchingDDP):
    """Distributed data parallel training whose further ranks read `config.yaml` in the run's folder.

    Args:
        folder: of the run.

    Attributes:
        checkpoint: that it goes on from.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = Path(folder).absolute()
        self.checkpoint: Path | None = None

    def announce_run(self) -> None:
        from speechml.engine.cluster import announce_run

        announce_run(self.folder, self.checkpoint)

    def start_ranks(self, launcher: RankLauncher) -> None:
        cluster = launcher.cluster_environment
        os.environ.update(
            MASTER_ADDR=cluster.main_address, MASTER_PORT=str(cluster.main_port), NODE_RANK=str(cluster.node_rank()),
            LOCAL_RANK=str(cluster.local_rank()), WORLD_SIZE=str(launcher.num_processes * launcher.num_nodes),
        )  # fmt: skip
        launcher.procs = []
        words = [str(path) for path in (self.folder, self.checkpoint) if path]
        for rank in range(1, launcher.num_processes):
            launcher.procs.append(start_worker("rank", *words, env={**os.environ, "LOCAL_RANK": str(rank)}))
        other_ranks.extend(launcher.procs)
        if not launcher.procs:
            return
        # Lightning's own observer kills this process five seconds after another ended, a sweep with it.
        threading.Thread(target=_watch, args=(launcher.procs,), daemon=True).start()


def _watch(ranks: list[subprocess.Popen[bytes]]) -> None:
    """End this process too where another rank has failed and the wait for it would never end."""
    while ranks[0] in other_ranks:
        time.sleep(0.2)
        if any(process.poll() for process in ranks):
            deadline = time.monotonic() + GRACE_S
            while ranks[0] in other_ranks and time.monotonic() < deadline:
                time.sleep(0.2)
            if ranks[0] in other_ranks:
                codes = [process.poll() for process in ranks]
                print(f"error: a rank has failed (exit codes of the others: {codes}); the run ends", file=sys.stderr)
                for process in ranks:
                    process.kill()
                os._exit(1)


def in_group() -> bool:
    """Whether this process is one of a group that trains together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def check_same_config(config: Config) -> None:
    """Compare the configs of all ranks before the first step.

    Raises:
        UserError: on every rank, with the hashes, where one has another than rank 0.
    """
    if not in_group():
        return
    text = json.dumps([__version__, str(torch.__version__), config], sort_keys=True, default=str)
    hashes: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(hashes, hashlib.sha256(text.encode()).hexdigest()[:10])
    for rank, other in enumerate(hashes):
        if other != hashes[0]:
            raise UserError(
                f"rank {rank} has config {other} and rank 0 has {hashes[0]}",
                why="hashes, versions of speechml and torch included",
                fix="they would train different networks: start all from one folder and one installation",
            )


def processes(trainer: Config) -> int:
    """How many processes a trainer's config asks for: devices of one machine times machines."""
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


def describe_lost_ranks(error: BaseException) -> str:
    """Which other ranks have failed, where `error` is what this rank noticed of it; else nothing."""
    if isinstance(error, UserError):  # every rank is refused alike
        return ""
    if rank_info():
        return "one of the other ranks has ended" if is_lost_connection(error) else ""
    deadline = time.monotonic() + 2.0  # its connection ends before its process
    while other_ranks and not any(process.poll() for process in other_ranks) and time.monotonic() < deadline:
        time.sleep(0.05)
    codes = [process.poll() for process in other_ranks]
    text = f"one of the other ranks has ended (exit codes {codes}; -9 is kill -9, or no memory left)"
    return text if any(codes) else ""


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error is of a connection, closed or reset by a rank that has ended; torch has no type for it."""
    return isinstance(error, RuntimeError) and "onnection" in str(error)


def leave_group(environment: dict[str, str]) -> None:
    """End the process group and the other ranks, and restore the environment: the next run of a sweep starts clean.

    Args:
        environment: as it was before the run.
    """
    if in_group():
        torch.distributed.destroy_process_group()
    ranks, other_ranks[:] = other_ranks[:], []
    for process in ranks:
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
