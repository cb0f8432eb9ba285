"""Several processes for one run: every rank starts from the run's frozen config, never from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

# What the launcher below puts into the environment, and what is taken out again when the run is over.
VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


class _FrozenLauncher(_SubprocessScriptLauncher):
    """Starts `python -m speechml.runs.ranks FOLDER` once for each further device.

    A private class of Lightning, hence the pin of its version: its public launcher replays the command line, with which
    the ranks of a sweep would train different configs.
    """

    folder: Path

    def _call_children_scripts(self) -> None:
        self._check_can_spawn_children()
        self.procs = []
        cluster = self.cluster_environment
        os.environ.update(
            MASTER_ADDR=cluster.main_address, MASTER_PORT=str(cluster.main_port), NODE_RANK=str(cluster.node_rank()),
            LOCAL_RANK=str(cluster.local_rank()), WORLD_SIZE=str(self.num_processes * self.num_nodes),
        )  # fmt: skip
        for rank in range(1, self.num_processes):
            command = [sys.executable, "-m", "speechml.runs.ranks", str(self.folder)]
            self.procs.append(subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank)}))


class FrozenDDP(DDPStrategy):
    """Distributed data parallel training whose further ranks read `config.yaml` in the run's folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = Path(folder).absolute()

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            launcher = _FrozenLauncher(self.cluster_environment, self.num_processes, self.num_nodes)  # type: ignore[arg-type]
            launcher.folder = self.folder
            self._launcher = launcher


def processes(trainer: dict[str, Any]) -> int:
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


def leave_group(before: dict[str, str | None]) -> None:
    """End the process group and restore the environment, so that the next run of a sweep starts clean."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def environment() -> dict[str, str | None]:
    """The variables as they are, for `leave_group`."""
    return {name: os.environ.get(name) for name in VARIABLES}


def main(folder: Path) -> None:
    """One further rank of the run in `folder`."""
    from omegaconf import OmegaConf

    import speechml.resolvers  # noqa: F401 (registers them)
    from speechml.build import build
    from speechml.experiment import execute, resume_point
    from speechml.process import prepare

    config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True)
    prepare(config)
    execute(config, folder, build(config["data"], where="data"), resume_point(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
