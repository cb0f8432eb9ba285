"""A sweep of every combination: what is done is skipped, what was stopped goes on, what failed is tried again."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from speechml.engine.signals import Stopped
from speechml.errors import UserError
from speechml.runs.folder import translate_disk_errors
from speechml.runs.sweep_record import SweepRun, save_sweep
from speechml.storage.files import make_folder
from speechml.sweep.compose import Composed
from speechml.sweep.lock import held
from speechml.sweep.planning import PlannedRun, as_json, combinations, counted, given, planned, todo
from speechml.sweep.status import Progress, status_table


def sweep(options: dict[str, Any], config: Any, launcher: Any, context: Any, arguments: list[str]) -> list[JobReturn]:
    """Compute what is missing of a sweep, and show all of it.

    Args:
        options: keys of conf/hydra/sweeper/grid.yaml.
        config: Hydra's own config of the sweep.
        launcher, context: Hydra's.
        arguments: overrides of the command line.

    Raises:
        UserError: runs that cannot be composed or are one, a folder that cannot be written, or runs that failed.
        Stopped: a signal has stopped it.
    """
    loader = context.config_loader
    words, retries = given(options, arguments)
    composed = Composed.by(loader, config)
    runs = planned(composed, combinations(words, loader))
    folder = Path(str(config.hydra.sweep.dir))
    make_folder(folder)
    with translate_disk_errors(folder), held(folder):
        record(folder, runs, "running")
        OmegaConf.save(config, folder / "multirun.yaml")
        print(f"{counted(runs, retries)}; {folder}", file=sys.stderr, flush=True)
        waiting = [run for run in runs if todo(run, retries)]
        try:
            returned = _launched(launcher, waiting, folder, [run for run in runs if run.state == "running"])
        except UserError:  # of the launcher: nothing has begun
            record(folder, runs, "stopped")
            raise
        except BaseException:
            _tell(folder, runs, "stopped", launcher)
            raise
        errors = {run.folder: error_of(r) for run, r in zip(waiting, returned, strict=True)}
        waits = getattr(launcher, "options", {}).get("wait", True)
        _tell(folder, runs, "done" if waits else "submitted", launcher, {k: v for k, v in errors.items() if v})
    _refuse_failures(waiting, returned, [run for run in runs if run.state == "failed" and not todo(run, retries)])
    return returned


def _tell(
    folder: Path, runs: list[PlannedRun], state: str, launcher: Any, errors: dict[Path, str] | None = None
) -> None:
    """Record that the sweep has ended, and show all of it."""
    record(folder, runs, state, errors)
    try:
        queued = launcher.queued(folder) if hasattr(launcher, "queued") else {}
    except UserError:  # Slurm does not answer; the cards tell enough
        queued = {}
    named = [SweepRun(run.folder, tuple(run.overrides), run.shown, (errors or {}).get(run.folder, "")) for run in runs]
    print(f"\n{status_table(named, queued)}\nSweep: {folder}\nLook: speechml report {folder}", flush=True)
    if state == "stopped":
        print("stopped; the same command goes on with what is left", file=sys.stderr)


def _launched(launcher: Any, runs: list[PlannedRun], folder: Path, elsewhere: list[PlannedRun]) -> list[JobReturn]:
    """What became of the runs, by a launcher of ours or of somebody else's, or one after the other in this process."""
    if hasattr(launcher, "compute"):  # ours tells of each run itself
        return list(launcher.compute(runs, folder, elsewhere))
    if type(launcher).__name__ != "BasicLauncher":
        return list(launcher.launch([run.overrides for run in runs], 0)) if runs else []
    returned: list[JobReturn] = []
    progress = Progress(len(runs))
    for number, run in enumerate(runs):
        progress.begins(run.shown)
        returned += launcher.launch([run.overrides], number)
        progress.ended(run.folder, run.shown, error_of(returned[-1]))
    return returned


def error_of(returned: JobReturn) -> str:
    """Why a run has no value, in one line; nothing where it has one."""
    if returned.status == JobStatus.COMPLETED:
        return ""
    error = returned._return_value  # `return_value` would raise it
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def record(folder: Path, runs: Sequence[PlannedRun], state: str, errors: dict[Path, str] | None = None) -> None:
    """Write sweep.json: what the sweep is of, and who computes it."""
    content: dict[str, object] = {
        "state": state, "experiment": runs[0].experiment, "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "user": getpass.getuser(), "host": socket.gethostname(), "process": os.getpid(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "runs": [{**as_json(run), "error": (errors or {}).get(run.folder)} for run in runs],
    }  # fmt: skip
    save_sweep(folder, content)


def _refuse_failures(runs: list[PlannedRun], returned: list[JobReturn], given_up: list[PlannedRun]) -> None:
    """End as one run would: stopped where one was stopped, refused where all that failed were.

    Raises:
        Stopped, UserError, RuntimeError: some runs have not come to their end.
    """
    failed = [(run, r) for run, r in zip(runs, returned, strict=True) if r.status != JobStatus.COMPLETED]
    stopped = [r._return_value for _, r in failed if isinstance(r._return_value, Stopped)]
    if stopped and len(stopped) == len(failed):
        raise stopped[0]
    told = [f"{run.shown or run.id}: {error_of(r)}" for run, r in failed]
    told += [f"{run.shown or run.id} has failed {run.failures} times; hydra.sweeper.max_retries={run.failures} tries it again"
             for run in given_up]  # fmt: skip
    if told:
        more = f"; and {len(told) - 1} more" if len(told) > 1 else ""
        raise UserError(f"{len(told)} of the runs failed: {told[0]}{more}")
