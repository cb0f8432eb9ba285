"""Runs of a sweep side by side on this machine: a process for each GPU, or as many as are asked for on the CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus

from speechml.errors import BadInput, Busy, NoSuchScore, UnusableData
from speechml.launchers.board import Board
from speechml.runs.stopping import Stopped
from speechml.sweeps.planning import PlannedRun
from speechml.sweeps.trial import Pruned
from speechml.sweeps.workers import Outcome, Workers

REFRESH_S = 0.5  # between two looks at what is running
FATAL = {"data": UnusableData, "objective": NoSuchScore}


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
        BadInput: for speechml-evaluate.
    """
    if launcher.config.hydra.job.config_name != "train":
        raise BadInput("only trainings are launched side by side; leave hydra/launcher out")


def jobs(launcher: Any) -> tuple[int, list[str]]:
    """How many runs are computed at a time, and the GPUs that they are spread over.

    Raises:
        BadInput: `n_jobs` is no number of processes.
    """
    count = launcher.options.get("n_jobs")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise BadInput(f"hydra.launcher.n_jobs is {count}; it must be a whole number above 0, or null")
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
    """
    count, visible = jobs(launcher)  # what cannot be is refused, whether or not there is something to do
    if not runs:
        return []
    crew = Workers(one_at_a_time(launcher).launch, min(count, len(runs)), visible, folder / "logs")
    board = Board(len(runs), crew.logs)
    waiting = list(enumerate(runs))
    found: dict[int, Outcome] = {}
    try:
        while len(found) < len(runs):
            while waiting and crew.free:
                number, run = waiting.pop(0)
                crew.submit(number, number, [run.overrides])
                board.begins(number, run.folder, run.shown)
            for number, outcomes in crew.results(REFRESH_S):
                found[number] = outcomes[-1]
                board.ended(number, "" if outcomes[-1].absent else outcomes[-1].error)
            board.refresh()
    finally:
        board.close()
        crew.close()
    return [returned(found[number], run.overrides) for number, run in enumerate(runs)]


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """What became of jobs, for sweepers that are not ours."""
    refuse_other_apps(launcher)
    count, visible = jobs(launcher)
    crew = Workers(one_at_a_time(launcher).launch, min(count, len(job_overrides)), visible)
    waiting = [(first + i, list(words)) for i, words in enumerate(job_overrides)]
    found: dict[int, Outcome] = {}
    try:
        while waiting or crew.busy:
            while waiting and crew.free:
                number, words = waiting.pop(0)
                crew.submit(number, number, [words])
            found |= {number: outcomes[-1] for number, outcomes in crew.results()}
    finally:
        crew.close()
    return [returned(found[first + i], list(words)) for i, words in enumerate(job_overrides)]


def returned(found: Outcome, overrides: list[str]) -> JobReturn:
    """An outcome in Hydra's words."""
    result = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    result.return_value, result.working_dir = found.value, found.run
    if found.value is None and (found.error or found.pruned) and not found.absent:
        result.status = JobStatus.FAILED
        kind = Pruned if found.pruned else Busy if found.busy else FATAL.get(found.fatal, BadInput)
        result.return_value = Stopped(found.stopped, None) if found.stopped else kind(found.error)
    return result
