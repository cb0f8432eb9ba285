"""Looking after sweeps that another process, or a cluster, computes."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from speechml.errors import UserError
from speechml.runs.catalogue import lock_owner, printable
from speechml.runs.sweep_record import SweepRun, is_sweep, list_runs, load_sweep, sweeps_below
from speechml.sweep import slurm_queue as queue
from speechml.sweep.slurm import queued, still_queued
from speechml.sweep.status import Progress, Row, row_of, status_table

SHOWN = 5  # sweeps of a folder
LOOK_S = 2.0  # between two looks at the cards


def jobs_of(folder: Path) -> dict[Path, str]:
    """What Slurm has of the runs in a folder."""
    found: dict[Path, str] = {}
    for sweep in sweeps_below(folder):
        if (sweep / "slurm").is_dir():
            found |= queued(sweep)
    return found


def with_those_to_come(folder: Path) -> list[SweepRun]:
    """The runs in a folder, and those that its sweeps have yet to begin.

    Raises:
        UserError: there are none.
    """
    if is_sweep(folder):
        return list_runs(folder)
    waiting = [
        run for sweep in sweeps_below(folder) for run in list_runs(sweep) if not (run.folder / "card.json").exists()
    ]
    try:
        return [*list_runs(folder), *waiting]
    except UserError:
        if not waiting:
            raise
        return waiting


def status_of(folder: Path) -> str:
    """The table of a sweep, and its command where that goes on with it; or that of a folder of runs, and its sweeps."""
    runs = with_those_to_come(folder)
    if not is_sweep(folder):
        runs.sort(key=lambda run: (run.folder.parent.name, row_of(run).shown))
    try:
        told = status_table(runs, jobs_of(folder))
    except UserError as error:
        told = f"{status_table(runs)}\nnote: {error}; what waits in the queue is not shown"
    sweeps = sorted(sweeps_below(folder), key=lambda sweep: -(sweep / "sweep.json").stat().st_mtime)
    commands = [f"\n{sweep}\n  {line}" for sweep in sweeps[:SHOWN] if (line := _command(sweep))]
    more = [f"\n... and {len(sweeps) - SHOWN} more in {folder / '.sweeps'}"] if len(sweeps) > SHOWN else []
    title = ["\nSweeps, the newest first, and the commands that go on with them:"] * bool(commands)
    return "\n".join([told, *title, *commands, *more])


def _command(sweep: Path) -> str:
    """The command of a sweep, as its own record has it."""
    try:
        return printable(load_sweep(sweep).command)
    except UserError:
        return ""


def wait_for(folder: Path) -> bool:
    """Tell of each run as it ends, until nobody computes or queues one any more; whether all are done.

    Raises:
        UserError: there are no runs, or Slurm cannot be asked at first.
    """
    jobs = jobs_of(folder)
    going = {run.folder: run for run in with_those_to_come(folder) if _goes_on(row_of(run), jobs)}
    progress, found = Progress(len(going)), bool(going or _client(folder))
    while going or _client(folder):
        with suppress(UserError):  # Slurm does not answer: what it has is as before
            jobs = jobs_of(folder)
        for run in [run for run in going.values() if not _goes_on(row_of(run), jobs)]:
            del going[run.folder]
            progress.ended(run.folder, run.label)
        time.sleep(LOOK_S)
    if not found:
        print("nobody computes it now", file=sys.stderr)
    print(status_of(folder))
    return all(row_of(run).state == "done" for run in with_those_to_come(folder))


def _goes_on(row: Row, jobs: dict[Path, str]) -> bool:
    return row.state == "running" or (row.state != "done" and row.folder.absolute() in jobs)


def _client(folder: Path) -> str | None:
    """The process that computes a sweep; None where there is none, or the folder is of runs."""
    return lock_owner(folder)


def cancelled(folder: Path) -> str:
    """End a sweep, and say how.

    Raises:
        UserError: no sweep, nothing to end, or a process of another machine.
    """
    if not is_sweep(folder) and not _client(folder):
        raise UserError(f"{folder} is no folder of a sweep; give one as in runs/.sweeps/EXPERIMENT/ID")
    told = []
    jobs = sorted({job.job for job in still_queued(folder)}) if (folder / "slurm").is_dir() else []
    if jobs:
        queue.cancel(jobs)
        told.append(f"{len(jobs)} job{'s are' if len(jobs) != 1 else ' is'} cancelled; those that train save first")
    if who := _client(folder):
        told.append(_ended(who, folder))
    if not told:
        raise UserError(
            f"nobody computes the sweep in {folder}; speechml sweep status {folder} tells what became of it"
        )
    return "\n".join([*told, "the sweep's command goes on with it"])


def _ended(who: str, folder: Path) -> str:
    """End the process that holds a sweep."""
    found = re.fullmatch(r"process (\d+) on (\S+)", who)
    if not found:
        raise UserError(f"{folder} is held by {who}; stop it there")
    if found[2] != socket.gethostname():
        raise UserError(f"{folder} is held by {who}, another machine; stop it there")
    os.kill(int(found[1]), signal.SIGTERM)
    return f"process {found[1]} is told to stop; it saves what it trains"
