"""Runs of a sweep side by side on this machine: a process for each GPU, or as many as are asked for on the CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus

from speechml.engine.signals import Stopped
from speechml.errors import FolderBusy, Pruned, UnknownScore, UnusableData, UserError
from speechml.sweep.board import Board
from speechml.sweep.planning import PlannedRun
from speechml.sweep.workers import Outcome, Workers

REFRESH_S = 0.5  # between two looks at what is running
FATAL = {"data": UnusableData, "objective": UnknownScore}


def one_at_a_time(launcher: Any) -> BasicLauncher:
    """Hydra's own launcher, with what ours was given: it computes in the process that calls it."""
    inner = BasicLauncher()
    inner.setup(hydra_context=launcher.hydra_context, task_function=launcher.task_function, config=launcher.config)
    return inner


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [word.strip() for word in given.split(",") if word.strip() and word.strip() != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    try:  # torch would take seconds to load, and must not be loaded before processes are forked
        found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(number) for number, line in enumerate(found.stdout.splitlines()) if line.startswith("GPU ")]


def refuse_other_apps(launcher: Any) -> None:
    """Refuse what is no training.

    Raises:
        UserError: for speechml-evaluate.
    """
    if launcher.config.hydra.job.config_name != "train":
        raise UserError("only trainings are launched side by side; leave hydra/launcher out")


def jobs(launcher: Any) -> tuple[int, list[str]]:
    """How many runs are computed at a time, and the GPUs that they are spread over.

    Raises:
        UserError: `n_jobs` is no number of processes.
    """
    count = launcher.options.get("n_jobs")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise UserError(f"hydra.launcher.n_jobs is {count}; it must be a whole number above 0, or null")
    trainer = launcher.config.get("trainer") or {}
    on_cpu = str(trainer.get("accelerator", "cpu")) in ("cpu", "mps")
    visible = [] if on_cpu else gpus()
    return count or max(1, len(visible)), visible


def compute(launcher: Any, runs: Sequence[PlannedRun], folder: Path) -> list[JobReturn]:
    """Compute runs, each by one of the processes, and tell of each; a process that dies fails its run alone.

    Args:
        launcher: with Hydra's parts.
        runs: to be computed.
        folder: of the sweep, for what the processes print.

    Raises:
        UserError: `n_jobs` is no number of processes, whether or not there is something to do.
    """
    jobs(launcher)
    board = Board(len(runs))

    def ended(number: int, found: Outcome) -> None:
        board.ended(number, "" if found.absent else found.error)

    def begins(number: int) -> None:
        board.begins(number, runs[number].folder, runs[number].shown)

    try:
        return _computed(launcher, [run.overrides for run in runs], 0, folder / "logs", begins, ended, board.refresh)
    finally:
        board.close()


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """What became of jobs, for sweepers that are not ours.

    Raises:
        UserError: the jobs are no trainings, or `n_jobs` is no number of processes.
    """
    refuse_other_apps(launcher)
    return _computed(launcher, [list(words) for words in job_overrides], first)


def _computed(
    launcher: Any, given: list[list[str]], first: int, logs: Path | None = None,
    begins: Callable[[int], None] = lambda _: None, ended: Callable[[int, Outcome], None] = lambda *_: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[JobReturn]:  # fmt: skip
    """Have jobs computed, as many at a time as there are processes; who watches is told by their place in `given`."""
    if not given:
        return []
    count, visible = jobs(launcher)
    crew = Workers(one_at_a_time(launcher).launch, min(count, len(given)), visible, logs)
    waiting = list(range(len(given)))
    found: dict[int, Outcome] = {}
    try:
        while len(found) < len(given):
            while waiting and crew.free:
                place = waiting.pop(0)
                crew.submit(place, first + place, [given[place]])
                begins(place)
            for place, outcomes in crew.results(REFRESH_S):
                found[place] = outcomes[-1]
                ended(place, outcomes[-1])
            meanwhile()
    finally:
        crew.close()
    return [returned(found[place], words) for place, words in enumerate(given)]


def returned(found: Outcome, overrides: list[str]) -> JobReturn:
    """An outcome in Hydra's words."""
    result = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    result.return_value, result.working_dir = found.value, found.run
    if found.value is None and (found.error or found.pruned) and not found.absent:
        result.status = JobStatus.FAILED
        result.return_value = exception_of(found)
    return result


def exception_of(found: Outcome) -> BaseException:
    """What the run ended with, as far as another process can tell."""
    if found.stopped:
        return Stopped(found.stopped, None)
    if found.busy:
        return FolderBusy(found.run, "another process", what=found.error)
    return (Pruned if found.pruned else FATAL.get(found.fatal, UserError))(found.error)
