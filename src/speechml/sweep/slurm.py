"""Runs of a sweep as array jobs of a Slurm cluster: submitted as frozen configs, watched, taken up again."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from speechml.contracts import Config
from speechml.engine.signals import Stopped
from speechml.errors import UserError, echo
from speechml.process import user_name
from speechml.storage.files import make_folder, write_json, write_text
from speechml.sweep import schema, slurm_commands
from speechml.sweep.jobs import Job, Outcome, lost_outcome
from speechml.sweep.slurm_task import outcome_file, step_file

if TYPE_CHECKING:
    from speechml.sweep.status import Progress

LOOK_S = 1.0  # between two looks at what has ended, a list of names
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED")
ASK_S = 5.0, 60.0  # between two questions to Slurm's controller: at first, and at most
# Why jobs wait as a matter of course; anything else is told, since it may never end.
USUAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency", "Cleaning", "Prolog")


class Submission(NamedTuple):
    """A run, and the array task that it is part of."""

    user: str
    job: str
    folder: Path
    label: str


class Queued(NamedTuple):
    """A run that the cluster has."""

    run: Submission
    state: str  # queued, or in a job
    reason: str  # why it waits, where that is not a matter of course


class SlurmLauncher:
    """Runs computed by jobs of a cluster. Those that jobs of an earlier launch have are waited for, not submitted again.

    Args:
        options: keys of hydra.launcher.
        folder: of the sweep.
        capacity: number of runs that a search has in the queue.
        progress: that is told how many runs there are.
    """

    together = False

    def __init__(
        self, options: schema.SlurmLauncher, folder: Path, capacity: int, progress: Progress | None = None
    ) -> None:
        self.options, self.folder, self.capacity, self.progress = options, folder, capacity, progress
        self.place = (folder / "slurm").absolute()  # for configs, notes of jobs, and outcomes
        # What is waited for; a run without a job is one of an earlier launch that this one has not asked for.
        self.submissions: dict[Path, tuple[Submission, Job | None]] = {
            run: (queued.run, None) for run, queued in still_queued(folder).items()
        }
        self.missing: dict[Path, int] = {}  # how often in a row a run's job was not in the queue
        self.notes: set[str] = set()

    def submit(self, jobs: Sequence[Job]) -> None:
        new = [job for job in jobs if Path(job.folder) not in self.submissions]
        if len(new) < len(jobs):
            echo(f"{len(jobs) - len(new)} of them have jobs already", file=sys.stderr, flush=True)
        runs = [run for run, _ in self.submissions.values()] + (self._submit(new) if new else [])
        newest = {run.folder: run for run in runs}
        self.submissions |= {Path(job.folder): (newest[Path(job.folder)], job) for job in jobs}

    def _submit(self, jobs: Sequence[Job]) -> list[Submission]:
        """Submit runs as arrays no wider than the cluster takes."""
        trainers = [job.config["config"].get("trainer") or {} for job in jobs]
        if len({(str(trainer.get("devices")), str(trainer.get("num_nodes"))) for trainer in trainers}) > 1:
            raise UserError(
                "trainer.devices and trainer.num_nodes cannot be swept on Slurm: jobs of an array are alike"
            )
        widest, together = slurm_commands.widest_array(), self.options.runs_per_job
        make_folder(self.place / "ended")
        tasks = [jobs[i : i + together] for i in range(0, len(jobs), together)]
        arrays = [
            self._submit_array(tasks[begin : begin + widest], trainers[0]) for begin in range(0, len(tasks), widest)
        ]
        names = ", ".join(runs[0].job.partition("_")[0] for runs in arrays)
        echo(f"submitted {len(jobs)} runs as {len(tasks)} jobs ({names})", file=sys.stderr, flush=True)
        return [run for runs in arrays for run in runs]

    def _submit_array(self, tasks: Sequence[Sequence[Job]], trainer: Config) -> list[Submission]:
        """Submit an array, and note which of its jobs has which run."""
        path = self.place / f"{sum(1 for _ in self.place.glob('*.jsonl'))}-{os.getpid()}.jsonl"
        write_text(path, "".join(json.dumps([asdict(job) for job in task]) + "\n" for task in tasks))
        for job in (job for task in tasks for job in task):
            note = outcome_file(self.place, job.folder)
            note.unlink(missing_ok=True)
            step_file(note).unlink(missing_ok=True)
        array = slurm_commands.submit_script(self.options, trainer, path, len(tasks))
        user = user_name()
        runs = [
            Submission(user, f"{array}_{number}" if len(tasks) > 1 else array, Path(job.folder), job.label)
            for number, task in enumerate(tasks) for job in task
        ]  # fmt: skip
        notes = [{"job": run.job, "folder": str(run.folder), "shown": run.label} for run in runs]
        write_json(self.place / f"{array}.json", {"job": array, "user": user, "runs": notes})
        return runs

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        """As of any launcher; none where the launch does not wait.

        Raises:
            Stopped: by a signal to this process; the jobs go on.
        """
        tells = f"speechml sweep status {self.folder} tells"
        if not self.options.wait:
            echo(f"not waiting for them; {tells} what became of them", file=sys.stderr)
            return
        if self.progress:
            self.progress.total += sum(job is None for _, job in self.submissions.values())
        asked, wait_s = -ASK_S[0], ASK_S[0]
        try:
            while self.submissions:
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
                time.sleep(max(LOOK_S, len(self.submissions) / 1000))  # a long list of names is work for a file server
        except Stopped:
            echo(
                f"the jobs go on; {tells} of them, speechml sweep wait {self.folder} waits, and speechml sweep cancel "
                f"{self.folder} ends them", file=sys.stderr,
            )  # fmt: skip
            raise

    def _ended(self) -> Iterator[tuple[Job, Outcome]]:
        """The runs whose jobs have written what became of them."""
        names = {path.name for path in (self.place / "ended").iterdir()}
        for folder in list(self.submissions):
            path = outcome_file(self.place, folder)
            if path.name in names:
                yield from self._give(folder, read_outcome(path))

    def _lost(self) -> list[tuple[Job, Outcome]]:
        """The runs whose jobs have left the queue without a word."""
        queue, lost = ask_queue([run for run, _ in self.submissions.values()]), list[tuple[Job, Outcome]]()
        for folder, (run, job) in list(self.submissions.items()):
            if queued := queue.get(folder):
                self.missing.pop(folder, None)
                if queued.state == "queued" and queued.reason:
                    why = "perhaps for ever; what it asks for may be more than there is"
                    self._note(queued.reason, f"job {run.job} waits ({queued.reason}), {why}")
            else:
                self.missing[folder] = self.missing.get(folder, 0) + 1
                if self.missing[folder] > 1:  # its file may be on its way through the file system
                    lost += self._give(folder, self._lost_outcome(run, job))
        return lost

    def _lost_outcome(self, run: Submission, job: Job | None) -> Outcome:
        end = slurm_commands.end_of(run.job)
        logs = ", ".join(str(path) for path in sorted((self.place / "logs").glob(f"{run.job}_*log.out")))
        why = f"its job {run.job} has ended before it ({end}){'; see ' * bool(logs)}{logs}"
        outcome = lost_outcome(str(run.folder), why, job)
        if not end.startswith("TIMEOUT") or outcome.is_scoreless:
            return outcome
        fix = "raise hydra.launcher.timeout_min, or signal_delay_s, into which a step, or a validation, and saving must fit"
        return replace(
            outcome, error=f"its job {run.job} met its time limit before it was queued again; {fix}", stopped_by=""
        )

    def _give(self, folder: Path, outcome: Outcome) -> list[tuple[Job, Outcome]]:
        """What is to be said of a run that has ended: an outcome, or a line where somebody else launched it."""
        self.missing.pop(folder, None)
        run, job = self.submissions.pop(folder)
        if job:
            return [(job, outcome)]
        if self.progress:
            self.progress.end(folder, run.label, outcome.failure)
        return []

    def _note(self, reason: str, text: str) -> None:
        """Print a note, once for each reason."""
        if reason not in self.notes:
            self.notes.add(reason)
            echo(f"note: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing ends: the jobs go on."""


def read_submissions(folder: Path) -> Iterator[Submission]:
    """The runs that a sweep has ever submitted, and their jobs, the newest last. Raises UserError where a note is damaged."""
    for path in sorted(folder.glob("slurm/*.json"), key=lambda path: path.stat().st_mtime):
        try:
            content = json.loads(path.read_text())
            user, notes = str(content["user"]), content["runs"]
            runs = [Submission(user, str(run["job"]), Path(run["folder"]), str(run["shown"])) for run in notes]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}); find the jobs with squeue, and move the file away"
            ) from error
        yield from (run for run in runs if run.folder.is_absolute())  # earlier versions knew no folders of trials


def still_queued(folder: Path) -> dict[Path, Queued]:
    """The runs that the cluster has, waiting or in a job, by folder. Raises UserError where it cannot be asked now."""
    ended = {path.name for path in folder.glob("slurm/ended/*.json")}
    return ask_queue([run for run in read_submissions(folder) if outcome_file(folder, run.folder).name not in ended])


def ask_queue(runs: Sequence[Submission]) -> dict[Path, Queued]:
    """Those of some runs that the cluster has, by folder. Raises UserError where it cannot be asked now."""
    queue = slurm_commands.queue({run.user for run in runs})
    found = {}
    for run in (run for run in runs if run.job in queue):
        state, reason = queue[run.job]
        found[run.folder] = Queued(run, "queued" if state in WAITING else "in a job", "" if reason in USUAL else reason)
    return found


def read_outcome(path: Path) -> Outcome:
    """What a job has written of a run."""
    try:
        content = json.loads(path.read_text())
        known = {field.name for field in fields(Outcome)}  # earlier versions wrote more
        return Outcome(**{key: value for key, value in content.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return Outcome(error=f"{path} cannot be read ({error})", may_retry=True)
