"""Several processes for one run: every rank starts from the run's frozen config, never from the command line."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from speechml import __version__
from speechml.engine import cluster as nodes
from speechml.engine.process import prepare
from speechml.engine.signals import SIGNALS, Stop, Stopped
from speechml.errors import UserError

GRACE_S = 20.0  # that a rank gets to notice by itself that another has ended
started: list[subprocess.Popen[bytes]] = []  # further ranks of the run that this process trains


class _FrozenLauncher(_SubprocessScriptLauncher):
    """Starts `python -m speechml.engine.rank PARENT FOLDER [CHECKPOINT]` once for each further device.

    A private class of Lightning, hence the pin of its version: its public launcher replays the command line, with which
    the ranks of a sweep would train different configs.
    """

    folder: Path
    checkpoint: Path | None

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            # Lightning's own observer kills this process five seconds after another ended, a sweep with it.
            threading.Thread(target=_watch, args=(self.procs,), daemon=True).start()
        elif self.cluster_environment.global_rank() == 0:
            nodes.begin(self.folder, self.checkpoint)
        return function(*args, **kwargs)

    def _call_children_scripts(self) -> None:
        self._check_can_spawn_children()
        cluster = self.cluster_environment
        os.environ.update(
            MASTER_ADDR=cluster.main_address, MASTER_PORT=str(cluster.main_port), NODE_RANK=str(cluster.node_rank()),
            LOCAL_RANK=str(cluster.local_rank()), WORLD_SIZE=str(self.num_processes * self.num_nodes),
        )  # fmt: skip
        self.procs = []
        words = [str(path) for path in (self.folder, self.checkpoint) if path]
        for rank in range(1, self.num_processes):
            command = [sys.executable, "-m", "speechml.engine.rank", str(os.getpid()), *words]
            # Signals wait until the other rank can note them: it is loading for seconds.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                self.procs.append(subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank)}))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        started.extend(self.procs)


def _watch(others: list[subprocess.Popen[bytes]]) -> None:
    """End this process too where another rank has failed and the wait for it would never end."""
    while others[0] in started:
        time.sleep(0.2)
        if any(process.poll() for process in others):
            until = time.monotonic() + GRACE_S
            while others[0] in started and time.monotonic() < until:
                time.sleep(0.2)
            if others[0] in started:
                codes = [process.poll() for process in others]
                print(f"error: of the other ranks (exit codes {codes}) one has failed; the run ends", file=sys.stderr)
                for process in others:
                    process.kill()
                os._exit(1)


class FrozenDDP(DDPStrategy):
    """Distributed data parallel training whose further ranks read `config.yaml` in the run's folder.

    Args:
        folder: of the run.
        checkpoint: that it goes on from.
    """

    def __init__(self, folder: Path, checkpoint: Path | None = None) -> None:
        super().__init__()
        self.folder = Path(folder).absolute()
        self.checkpoint = checkpoint.absolute() if checkpoint else None

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            launcher = _FrozenLauncher(self.cluster_environment, self.num_processes, self.num_nodes)  # type: ignore[arg-type]
            launcher.folder, launcher.checkpoint = self.folder, self.checkpoint
            self._launcher = launcher


def refuse_other_configs(config: dict[str, Any]) -> None:
    """Compare the configs of all ranks before the first step.

    Raises:
        UserError: on every rank, with the hashes, where one has another than rank 0.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    text = json.dumps([__version__, str(torch.__version__), config], sort_keys=True, default=str)
    own = hashlib.sha256(text.encode()).hexdigest()[:10]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    for rank, other in enumerate(found):
        if other != found[0]:
            raise UserError(
                f"rank {rank} has config {other} and rank 0 has {found[0]} (hashes, versions of speechml and torch "
                "included): they would train different networks; start all from one folder and one installation"
            )


def processes(trainer: dict[str, Any]) -> int:
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


def ended_ranks(error: BaseException) -> str:
    """Which other ranks have failed, where `error` is what this rank noticed of it; else nothing."""
    if isinstance(error, UserError):  # every rank is refused alike
        return ""
    if nodes.started():
        return "of the other ranks one has ended" if _lost(error) else ""
    until = time.monotonic() + 2.0  # its connection ends before its process
    while started and not any(process.poll() for process in started) and time.monotonic() < until:
        time.sleep(0.05)
    codes = [process.poll() for process in started]
    told = f"of the other ranks one has ended (exit codes {codes}; -9 is kill -9, or no memory left)"
    return told if any(codes) else ""


def _lost(error: BaseException) -> bool:
    """Whether an error is of a connection, closed or reset by a rank that has ended."""
    return isinstance(error, RuntimeError) and "onnection" in str(error)


def leave_group(before: dict[str, str]) -> None:
    """End the process group and the other ranks, and restore the environment: the next run of a sweep starts clean.

    Args:
        before: a copy of the environment as it was before the run.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    others, started[:] = started[:], []
    for process in others:
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def join(place: nodes.Started, run: str) -> None:
    """Be one of the ranks that a cluster has started for a run, but the first, as long as that one wants it.

    Whatever this rank is refused or loses, rank 0 is as well, and tells; its exit code counts.
    """
    before = dict(os.environ)
    try:
        found = nodes.told(place, run)
        if found is not None:
            main(*found)
    finally:
        leave_group(before)


def main(folder: Path, checkpoint: Path | None = None) -> int:
    """One further rank of the run in `folder`; whatever it is refused, rank 0 is as well, and tells.

    Returns:
        Its exit code.
    """
    from omegaconf import OmegaConf

    import speechml.config.resolvers  # noqa: F401 (registers them)
    from speechml.config.instantiate import build
    from speechml.engine.train import execute

    config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True)
    prepare(config)
    stop = Stop()
    with stop.listening():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            execute(config, folder, build(config["data"], where="data"), checkpoint, stop)
        except Stopped:
            return 0  # as all ranks
        except UserError:
            return 2
        except RuntimeError as error:
            if _lost(error):  # to a rank that has ended, which tells why
                return 1
            raise
    return 0
