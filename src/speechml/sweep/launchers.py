"""What computes the runs of a sweep: this process, processes of this machine, or a cluster, as hydra/launcher says."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig

from speechml.contracts import Config
from speechml.sweep.jobs import Launcher
from speechml.sweep.local import InProcess, Pool, pool_size, visible_gpus
from speechml.sweep.progress import Progress


class OpenLauncher(Protocol):
    """What gives a sweeper the launcher of its runs, in the sweep's folder."""

    def __call__(self, folder: Path, progress: Progress | None, *, least: int = 1, most: int) -> Launcher:
        """For at least so many runs at a time, of at most so many. Raises UserError where its options are wrong."""


def open_basic(folder: Path, progress: Progress | None, *, least: int = 1, most: int) -> Launcher:
    """hydra/launcher=basic: this process, or as many others as a search computes trials at a time."""
    together = min(least, most)
    return Pool(together, [], folder / "logs", progress) if together > 1 else InProcess(progress)


def open_local(
    options: Config, config: DictConfig, folder: Path, progress: Progress | None, *, least: int = 1, most: int
) -> Launcher:
    """hydra/launcher=local: a process for each GPU, or `n_jobs`."""
    count = pool_size(options)
    on_cpu = str((config.get("trainer") or {}).get("accelerator", "cpu")) in ("cpu", "mps")
    gpus = [] if on_cpu else visible_gpus()
    return Pool(max(1, min(max(least, count or len(gpus)), most)), gpus, folder / "logs", progress)


def open_slurm(options: Config, folder: Path, progress: Progress | None, *, least: int = 1, most: int) -> Launcher:
    """hydra/launcher=slurm: jobs of a cluster; a search waits for them whatever `wait` is."""
    from speechml.sweep.slurm import SlurmLauncher

    if progress is None:  # of a search, which goes by what its runs come to
        options = {**options, "wait": True}
    return SlurmLauncher(options, folder, min(least, most), progress)
