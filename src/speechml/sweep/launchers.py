"""What computes the runs of a sweep: this process, processes of this machine, or a cluster, as hydra/launcher says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from speechml.contracts import Config, Launcher
from speechml.errors import UserError
from speechml.sweep.compose import Composer
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

    return SlurmLauncher(options, folder, min(least, most), progress)


def launch_for_hydra(
    launcher: OpenLauncher, config: DictConfig, loader: ConfigLoader, overrides: Sequence[Sequence[str]], first: int
) -> list[JobReturn]:
    """What became of the jobs of a sweeper that is not ours, in Hydra's words.

    Args:
        launcher: one of the above.
        config: Hydra's own config of the sweep.
        loader: Hydra's.
        overrides: of each job.
        first: number of the first job.

    Raises:
        UserError: the jobs are no trainings.
    """
    if config.hydra.job.config_name != "train":
        raise UserError("only trainings are launched side by side; leave hydra/launcher out")
    composer = Composer.of_sweep(loader, config)
    jobs = [composer.job(list(words), number, " ".join(words)) for number, words in enumerate(overrides, first)]
    opened = launcher(Path(str(config.hydra.sweep.dir)), Progress(len(jobs), live=True), most=len(jobs))
    try:
        opened.submit(jobs)
        outcomes = {job.number: outcome for job, outcome in opened.outcomes()}
    finally:
        opened.close()
    returned = []
    for job, words in zip(jobs, overrides, strict=True):
        outcome = outcomes[job.number]
        has_failed = bool(outcome.error) and not outcome.is_scoreless
        result = JobReturn(overrides=list(words), status=JobStatus.FAILED if has_failed else JobStatus.COMPLETED)
        result.return_value = UserError(outcome.error) if has_failed else outcome.value
        result.working_dir = job.folder
        returned.append(result)
    return returned
