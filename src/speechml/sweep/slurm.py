"""Runs of a sweep as array jobs of a Slurm cluster: submitted as frozen configs, watched, taken up again."""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

from speechml.contracts import Config
from speechml.engine.signals import Stopped
from speechml.errors import UserError
from speechml.storage.files import make_folder, write_json, write_text
from speechml.sweep import slurm_queue
from speechml.sweep.grid_plan import condition
from speechml.sweep.jobs import Job, Outcome
from speechml.sweep.progress import Progress
from speechml.sweep.slurm_script import submit_script
from speechml.sweep.slurm_task import outcome_file
from speechml.sweep.status import Queued

LOOK_S = 1.0  # between two looks at what has ended, a list of names
ASK_S = 5.0, 60.0  # between two questions to Slurm's controller: at first, and at most
# Why jobs wait as a matter of course; anything else is told, since it may never end.
USUAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency", "Cleaning", "Prolog")


class Submitted(NamedTuple):
    """A run, and the array task that it is part of."""

    user: str
    job: str
    folder: Path
    label: str


class SlurmLauncher:
    """Runs computed by jobs of a cluster. Those that jobs of an earlier launch have are waited for, not submitted again.

    Args:
        options: keys of conf/hydra/launcher/slurm.yaml.
        folder: of the sweep.
        capacity: number of runs that a search has in the queue.
        progress: that is told how many runs there are.
    """

    def __init__(self, options: Config, folder: Path, capacity: int, progress: Progress | None = None) -> None:
        self.options, self.folder, self.capacity, self.progress = options, folder, capacity, progress
        self.place = (folder / "slurm").absolute()  # for configs, notes of jobs, and outcomes
        self.earlier = {run.folder: run for run in still_queued(folder)}
        self.pending: dict[Path, tuple[Job, Submitted]] = {}
        self.missing: dict[Path, int] = {}  # how often in a row a run's job was not in the queue
        self.noted: set[str] = set()

    def submit(self, jobs: Sequence[Job]) -> None:
        new = [job for job in jobs if Path(job.folder) not in self.earlier]
        if len(new) < len(jobs):
            print(f"{len(jobs) - len(new)} of them have jobs already", file=sys.stderr, flush=True)
        runs = {run.folder: run for run in self._submit(new)} | self.earlier
        for job in jobs:
            self.pending[Path(job.folder)] = job, runs[Path(job.folder)]
            self.earlier.pop(Path(job.folder), None)

    def _submit(self, jobs: Sequence[Job]) -> list[Submitted]:
        """Submit runs as arrays no wider than the cluster takes, and note which job has which."""
        together = self.options["runs_per_job"]
        if not isinstance(together, int) or isinstance(together, bool) or together < 1:
            raise UserError(f"hydra.launcher.runs_per_job is {together}; it must be a whole number above 0")
        if not jobs:
            return []
        slurm_queue.check_available()
        trainers = [job.config["config"].get("trainer") or {} for job in jobs]
        if len({(str(trainer.get("devices")), str(trainer.get("num_nodes"))) for trainer in trainers}) > 1:
            raise UserError(
                "trainer.devices and trainer.num_nodes cannot be swept on Slurm: jobs of an array are alike"
            )
        make_folder(self.place / "ended")
        widest = max(1, slurm_queue.setting("MaxArraySize", 1001))
        tasks = [jobs[i : i + together] for i in range(0, len(jobs), together)]
        found = []
        for begin in range(0, len(tasks), widest):
            found += self._submit_array(tasks[begin : begin + widest], trainers[0])
        count = len({run.job for run in found})
        print(
            f"submitted {len(found)} runs as {count} jobs ({found[0].job} to {found[-1].job})",
            file=sys.stderr,
            flush=True,
        )
        return found

    def _submit_array(self, tasks: list[Sequence[Job]], trainer: Config) -> list[Submitted]:
        path = self.place / f"{sum(1 for _ in self.place.glob('*.jsonl'))}-{os.getpid()}.jsonl"
        write_text(path, "".join(json.dumps([asdict(job) for job in task]) + "\n" for task in tasks))
        for job in (job for task in tasks for job in task):
            outcome_file(self.place, job.folder).unlink(missing_ok=True)
        array = submit_script(self.options, trainer, path, len(tasks))
        names = [f"{array}_{task}" for task in range(len(tasks))] if len(tasks) > 1 else [array]
        user = getpass.getuser()
        runs = [
            Submitted(user, name, Path(job.folder), job.label)
            for name, task in zip(names, tasks, strict=True) for job in task
        ]  # fmt: skip
        notes = [{"job": run.job, "folder": str(run.folder), "shown": run.label} for run in runs]
        write_json(self.place / f"{array}.json", {"job": array, "user": user, "runs": notes})
        return runs

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        """As of any launcher; none where the launch does not wait.

        Raises:
            Stopped: by a signal to this process; the jobs go on.
        """
        if not self.options["wait"]:
            print(
                f"not waiting for them; speechml sweep status {self.folder} tells what became of them", file=sys.stderr
            )
            return
        if self.progress:
            self.progress.total += len(self.earlier)
        asked, wait_s = -ASK_S[0], ASK_S[0]
        try:
            while self.pending or self.earlier:
                yield from self._ended()
                if time.monotonic() - asked >= wait_s:
                    asked, wait_s = time.monotonic(), min(1.2 * wait_s, ASK_S[1])
                    try:
                        lost = self._lost()
                    except UserError as error:  # a busy controller; the jobs go on
                        self._note(str(error), f"{error}; asked again in {wait_s:.0f} s")
                        continue
                    wait_s = ASK_S[0] if self.missing else wait_s
                    yield from lost
                time.sleep(max(LOOK_S, len(self.pending) / 1000))  # a long list of names is work for a file server
        except Stopped:
            print(
                f"the jobs go on; speechml sweep status {self.folder} tells of them, speechml sweep wait {self.folder} "
                f"waits, and speechml sweep cancel {self.folder} ends them", file=sys.stderr,
            )  # fmt: skip
            raise

    def _ended(self) -> Iterator[tuple[Job, Outcome]]:
        """The runs whose jobs have written what became of them."""
        names = {path.name for path in (self.place / "ended").iterdir()}
        for run in self._watched():
            path = outcome_file(self.place, str(run.folder))
            if path.name in names:
                yield from self._give(run, read_outcome(path))

    def _lost(self) -> list[tuple[Job, Outcome]]:
        """The runs whose jobs have left the queue without a word."""
        watched = self._watched()
        queue = slurm_queue.queue({run.user for run in watched})
        found: list[tuple[Job, Outcome]] = []
        for run in watched:
            state, reason = queue.get(run.job, ("", "None"))
            if state == "PENDING" and reason not in USUAL:
                why = "perhaps for ever; what it asks for may be more than there is"
                self._note(reason, f"job {run.job} waits ({reason}), {why}")
            self.missing[run.folder] = 0 if run.job in queue else self.missing.get(run.folder, 0) + 1
            if self.missing[run.folder] > 1:  # its file may be on its way through the file system
                found += self._give(run, lost_outcome(run, self.place))
        self.missing = {folder: count for folder, count in self.missing.items() if count}
        return found

    def _watched(self) -> list[Submitted]:
        return [*(run for _, run in self.pending.values()), *self.earlier.values()]

    def _give(self, run: Submitted, outcome: Outcome) -> list[tuple[Job, Outcome]]:
        """What is to be said of a run that has ended: an outcome, or a line where somebody else launched it."""
        self.missing.pop(run.folder, None)
        if run.folder in self.pending:
            return [(self.pending.pop(run.folder)[0], outcome)]
        del self.earlier[run.folder]
        if self.progress:
            self.progress.end(run.folder, run.label, outcome.error)
        return []

    def _note(self, reason: str, text: str) -> None:
        """Print a note, once for each reason."""
        if reason not in self.noted:
            self.noted.add(reason)
            print(f"note: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing ends: the jobs go on."""


def submitted(folder: Path) -> Iterator[Submitted]:
    """The runs that a sweep has ever submitted, and their jobs.

    Raises:
        UserError: what is noted of them is damaged.
    """
    for path in sorted(folder.glob("slurm/*.json"), key=lambda path: path.stat().st_mtime):
        try:
            content = json.loads(path.read_text())
            runs = [[str(run[key]) for key in ("job", "folder", "shown")] for run in content["runs"]]
            user = str(content["user"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}); find the jobs with squeue, and move the file away"
            ) from error
        for job, run, label in runs:
            yield Submitted(user, job, Path(run), label)


def still_queued(folder: Path) -> list[Submitted]:
    """Those whose jobs are waiting or computing, and that have not ended in them."""
    return [run for run, _ in _still_queued(folder)]


def _still_queued(folder: Path) -> list[tuple[Submitted, tuple[str, str]]]:
    runs = [run for run in submitted(folder) if not outcome_file(folder / "slurm", str(run.folder)).exists()]
    queue = slurm_queue.queue({run.user for run in runs}) if runs else {}
    return [(run, queue[run.job]) for run in runs if run.job in queue]


def queued(folder: Path) -> dict[Path, Queued]:
    """What Slurm says of the runs that it has, by folder.

    Raises:
        UserError: it cannot be asked now.
    """
    found = {}
    for run, (state, reason) in _still_queued(folder):
        why = f", {reason}" * (reason not in USUAL)
        found[run.folder] = Queued("queued" if state in slurm_queue.WAITING else "in a job", f"{run.job}{why}")
    return found


def read_outcome(path: Path) -> Outcome:
    """What a job has written of a run."""
    try:
        content = json.loads(path.read_text())
        known = {field.name for field in fields(Outcome)}  # earlier versions wrote more
        return Outcome(**{key: value for key, value in content.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return Outcome(error=f"{path} cannot be read ({error})", may_retry=True)


def lost_outcome(run: Submitted, place: Path) -> Outcome:
    """The outcome of a run whose job is gone and has told nothing: it was stopped, or died."""
    folder = str(run.folder)
    if condition(run.folder)[0] == "stopped":
        return Outcome(run=folder, error="stopped", may_retry=True, stopped_by="a signal")
    logs = ", ".join(str(path) for path in sorted((place / "logs").glob(f"{run.job}_*log.out")))
    error = f"its job {run.job} has ended before it ({slurm_queue.end_of(run.job)}){'; see ' * bool(logs)}{logs}"
    return Outcome(run=folder, error=error, may_retry=True)
