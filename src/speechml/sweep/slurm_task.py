"""An array task of a Slurm job: the runs of one line of a file of jobs, one after another."""

from __future__ import annotations

import itertools
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from speechml.errors import echo
from speechml.storage.files import write_json, write_text
from speechml.sweep.jobs import Job, Outcome, compute, done_outcome
from speechml.sweep.slurm_commands import ask


def compute_task(path: Path) -> int:
    """Compute the runs of line SLURM_ARRAY_TASK_ID of a file; the exit code.

    Outcomes are written into `ended/`, a file for each run; a job that gets USR1 saves, and is put into the queue again
    as long as that gets its runs on.
    """
    # As many threads as cores, before anything that counts them is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    from speechml.engine.signals import RESUMABLE, Stopped, interruptible

    task = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    with path.open() as file:
        jobs = [Job(**job) for job in json.loads(next(itertools.islice(file, task, None)))]
    is_first = int(os.environ.get("SLURM_PROCID", "0")) == 0
    failures, note = [], path
    try:
        with interruptible(patient=True):
            for job in jobs:
                note = outcome_file(path.parent, job.folder)
                if note.exists():
                    continue
                echo(f"run {job.folder}  {job.label}", file=sys.stderr, flush=True)
                outcome = compute(job)
                if outcome.failure:  # the further ranks of a run have no score, and no failure either
                    failures.append(job)
                    echo(f"error: {outcome.failure}", file=sys.stderr, flush=True)
                if is_first:
                    write_json(note, asdict(outcome))
    except Stopped as stopped:
        if not is_first:
            return 0  # as all ranks; the first one's exit code counts
        if note != path and (done := done_outcome(job.folder, job)):  # the signal came when the run was done
            write_json(note, asdict(done))
            step_file(note).unlink(missing_ok=True)  # what is done has got on
            if job == jobs[-1]:
                return int(bool(failures))
        echo(stopped.reason, file=sys.stderr, flush=True)
        if stopped.signal_name == "SIGUSR1" and (why := requeue_task(note, task, stopped.step)):
            write_json(note, asdict(Outcome(error=why)))
            return 1
        return RESUMABLE
    return int(bool(failures))


def outcome_file(place: Path, run: str | Path) -> Path:
    """Where a job writes what became of a run, below the folder of what a sweep has on Slurm."""
    return place / "ended" / f"{Path(run).name}.json"


def step_file(note: Path) -> Path:
    """Where a job writes how far it got a run, beside the file of its outcome."""
    return note.with_suffix(".step")


def requeue_task(note: Path, task: int, step: int | None) -> str:
    """Put this job into the queue again, unless its run would not get on; then why not.

    Twice in a row without a step more than before is once too often: the time is too short even to begin.

    Args:
        note: file of the run's outcome.
        task: number of the job in its array.
        step: after which the run has stopped.
    """
    file = step_file(note)
    before, idle = map(int, file.read_text().split()) if file.exists() else (0, 0)
    idle = 0 if (step or 0) > before else idle + 1
    if idle > 1:
        return (
            "its time limit ends before a step is done; raise hydra.launcher.timeout_min (now and then a job gets USR1 a "
            "minute early), or lower hydra.launcher.signal_delay_s"
        )
    write_text(file, f"{max(before, step or 0)} {idle}")
    echo("ahead of the time limit: queued again", file=sys.stderr, flush=True)
    array, own = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ["SLURM_JOB_ID"]
    ask("scontrol", "requeue", f"{array}_{task}" if array else own)  # which ends this process
    return ""
