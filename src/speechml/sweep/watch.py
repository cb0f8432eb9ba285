"""Looking after sweeps that another process, or a cluster, computes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from speechml.errors import UserError
from speechml.runs.catalogue import is_run, lock_owner
from speechml.runs.sweep_record import RECORD, SweepRun, is_sweep, list_runs, load_sweep, sweeps_below
from speechml.runs.tables import printable
from speechml.sweep import slurm_queue
from speechml.sweep.progress import Progress
from speechml.sweep.slurm import queued, still_queued
from speechml.sweep.status import Queued, row_of, status_table

SHOWN = 5  # sweeps of a folder
LOOK_S = 2.0  # between two looks at the cards


def queued_below(folder: Path) -> dict[Path, Queued]:
    """What Slurm has of the runs in a folder."""
    found: dict[Path, Queued] = {}
    for sweep in sweeps_below(folder):
        found |= queued(sweep)
    return found


def list_all(folder: Path) -> list[SweepRun]:
    """The runs in a folder, and those that its sweeps have yet to begin.

    Raises:
        UserError: there are none.
    """
    if is_sweep(folder):
        return list_runs(folder)
    waiting = [run for sweep in sweeps_below(folder) for run in list_runs(sweep) if not is_run(run.folder)]
    try:
        return [*list_runs(folder), *waiting]
    except UserError:
        if not waiting:
            raise
        return waiting


def status_report(folder: Path) -> str:
    """The table of a sweep, and its command where that goes on with it; or that of a folder of runs, and its sweeps."""
    runs = list_all(folder)
    if not is_sweep(folder):
        runs.sort(key=lambda run: (run.folder.parent.name, row_of(run).label))
    try:
        text = status_table(runs, queued_below(folder))
    except UserError as error:
        text = f"{status_table(runs)}\nnote: {error}; what waits in the queue is not shown"
    sweeps = sorted(sweeps_below(folder), key=lambda sweep: -(sweep / "sweep.json").stat().st_mtime)
    commands = [f"\n{sweep}\n  {line}" for sweep in sweeps[:SHOWN] if (line := _command(sweep))]
    more = [f"\n... and {len(sweeps) - SHOWN} more in {folder / '.sweeps'}"] if len(sweeps) > SHOWN else []
    title = ["\nSweeps, the newest first, and the commands that go on with them:"] * bool(commands)
    return "\n".join([text, *title, *commands, *more])


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
    queue = queued_below(folder)
    going = [run for run in list_all(folder) if _is_going_on(run, queue)]
    progress, found = Progress(len(going)), bool(going or lock_owner(folder))
    while going or lock_owner(folder):
        with suppress(UserError):  # Slurm does not answer: what it has is as before
            queue = queued_below(folder)
        for run in [run for run in going if not _is_going_on(run, queue)]:
            going.remove(run)
            progress.end(run.folder, run.label)
        time.sleep(LOOK_S)
    if not found:
        print("nobody computes it now", file=sys.stderr)
    print(status_report(folder))
    return all(row_of(run).state == "done" for run in list_all(folder))


def _is_going_on(run: SweepRun, queue: Mapping[Path, Queued]) -> bool:
    state = row_of(run).state
    return state == "running" or (state != "done" and run.folder.absolute() in queue)


def cancel_sweep(folder: Path) -> str:
    """End a sweep, and say how.

    Raises:
        UserError: no sweep, nothing to end, or a process of another machine.
    """
    owner = lock_owner(folder)
    if not is_sweep(folder) and not owner:
        raise UserError(f"{folder} is no folder of a sweep; give one as in runs/.sweeps/EXPERIMENT/ID")
    lines = []
    if jobs := sorted({job.job for job in still_queued(folder)}):
        slurm_queue.cancel(jobs)
        lines.append(f"{len(jobs)} job{'s are' if len(jobs) != 1 else ' is'} cancelled; those that train save first")
    if owner:
        lines.append(_stop_client(folder, owner))
    if not lines:
        raise UserError(
            f"nobody computes the sweep in {folder}", fix=f"speechml sweep status {folder} tells what became of it"
        )
    return "\n".join([*lines, "the sweep's command goes on with it"])


def _stop_client(folder: Path, owner: str) -> str:
    """End the process that holds a sweep, which its record names."""
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} is held by {owner}, and has no {RECORD} yet", fix="stop it there, or try again")
    record = load_sweep(folder)
    if record.process is None or owner != f"process {record.process} on {socket.gethostname()}":
        raise UserError(f"{folder} is held by {owner}; stop it there")
    os.kill(record.process, signal.SIGTERM)
    return f"process {record.process} is told to stop; it saves what it trains"
