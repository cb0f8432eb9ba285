"""Runs of a sweep as array jobs of a Slurm cluster: submitted as frozen configs, watched, taken up again."""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn

from speechml.engine.signals import Stopped
from speechml.errors import UserError
from speechml.storage.files import make_folder, write_json, write_text
from speechml.sweep import slurm_queue as queue
from speechml.sweep.compose import Composed
from speechml.sweep.frozen import frozen
from speechml.sweep.local import refuse_other_apps, returned
from speechml.sweep.planning import PlannedRun, condition
from speechml.sweep.slurm_script import submitted
from speechml.sweep.status import Progress
from speechml.sweep.workers import Outcome

LOOK_S = 1.0  # between two looks at what has ended, a list of names
ASK_S = 5.0, 60.0  # between two questions to Slurm's controller: at first, and at most
# Why jobs wait as a matter of course; anything else is told, since it may never end.
USUAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency", "Cleaning", "Prolog")


class Given(NamedTuple):
    """A run that Slurm is to compute."""

    told: str  # name of the file in `ended/` that its job writes
    content: dict[str, Any]  # its frozen config
    folder: Path
    shown: str


class Submitted(NamedTuple):
    """A run, and the array task that it is part of."""

    user: str
    job: str
    told: str
    folder: Path
    shown: str


def compute(
    launcher: Any, runs: Sequence[PlannedRun], folder: Path, elsewhere: Sequence[PlannedRun]
) -> list[JobReturn]:
    """Have runs computed that no job of an earlier launch has already, and wait for all, these as well.

    Args:
        launcher: with Hydra's parts.
        runs: to be computed.
        folder: of the sweep.
        elsewhere: runs that are being trained already.

    Raises:
        UserError: no Slurm, or it refuses the jobs.
        Stopped: a signal has ended the wait; the jobs go on.
    """
    if not runs and not elsewhere:
        return []
    queue.refuse_without_slurm()
    place = _place(folder)
    known = {job.folder: job for job in still_queued(folder)}
    composed = Composed.by(launcher.hydra_context.config_loader, launcher.config)
    given = [
        Given(run.id, frozen(composed.config(run.overrides), number), run.folder.absolute(), run.shown)
        for number, run in enumerate(runs) if run.folder.absolute() not in known
    ]  # fmt: skip
    if len(given) < len(runs):
        print(f"{len(runs) - len(given)} of them have jobs already", file=sys.stderr, flush=True)
    jobs = {job.folder: job for job in _submit(launcher.options, given, place)} | known
    mine = [jobs[run.folder.absolute()] for run in runs]
    others = [jobs[run.folder.absolute()] for run in elsewhere if run.folder.absolute() in jobs]
    if not launcher.options["wait"]:
        print(f"not waiting for them; speechml sweep status {folder} tells what became of them", file=sys.stderr)
        return [returned(Outcome(), run.overrides) for run in runs]
    found = watched([*mine, *others], place, folder)
    return [returned(found[job.told], run.overrides) for job, run in zip(mine, runs, strict=True)]


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """What became of jobs, for sweepers that are not ours, and for searches."""
    refuse_other_apps(launcher)
    queue.refuse_without_slurm()
    folder = Path(str(launcher.config.hydra.sweep.dir))
    place = _place(folder)
    given = []
    for number, words in enumerate(job_overrides, first):
        cfg = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(words))
        HydraConfig.instance().set_config(cfg)
        shown = " ".join(word for word in words if not word.startswith("++callbacks."))
        given.append(Given(f"job-{number}-{os.getpid()}-{time.time_ns()}", frozen(cfg, number), Path(), shown))
    jobs = _submit(launcher.options, given, place)
    found = watched(jobs, place, folder)
    return [returned(found[job.told], list(words)) for job, words in zip(jobs, job_overrides, strict=True)]


def _place(folder: Path) -> Path:
    """The folder for configs, what is noted of jobs, and what they tell."""
    place = (folder / "slurm").absolute()
    make_folder(place / "ended")
    return place


def _submit(options: dict[str, Any], given: list[Given], place: Path) -> list[Submitted]:
    """Submit runs as arrays no wider than the cluster takes, and note which job has which."""
    if not given:
        return []
    together = options["runs_per_job"]
    if not isinstance(together, int) or isinstance(together, bool) or together < 1:
        raise UserError(f"hydra.launcher.runs_per_job is {together}; it must be a whole number above 0")
    widest = max(1, queue.setting("MaxArraySize", 1001))
    groups = [given[i : i + together] for i in range(0, len(given), together)]
    found: list[Submitted] = []
    for begin in range(0, len(groups), widest):
        tasks = groups[begin : begin + widest]
        number = sum(1 for _ in place.glob("*.jsonl"))
        path = place / f"{number}-{os.getpid()}.jsonl"
        write_text(path, "".join(json.dumps([{**g.content, "told": g.told} for g in task]) + "\n" for task in tasks))
        for run in (run for task in tasks for run in task):
            (place / "ended" / f"{run.told}.json").unlink(missing_ok=True)
        trainers = [run.content["config"].get("trainer") or {} for task in tasks for run in task]
        if len({(str(trainer.get("devices")), str(trainer.get("num_nodes"))) for trainer in trainers}) > 1:
            raise UserError(
                "trainer.devices and trainer.num_nodes cannot be swept on Slurm: jobs of an array are alike"
            )
        job = submitted(options, trainers[0], path, len(tasks))
        names = [f"{job}_{task}" for task in range(len(tasks))] if len(tasks) > 1 else [job]
        new = [
            Submitted(getpass.getuser(), n, r.told, r.folder, r.shown)
            for n, task in zip(names, tasks, strict=True)
            for r in task
        ]
        noted = [{"job": s.job, "told": s.told, "folder": str(s.folder), "shown": s.shown} for s in new]
        write_json(place / f"{job}.json", {"job": job, "user": getpass.getuser(), "runs": noted})
        found += new
    jobs = len({job.job for job in found})
    print(
        f"submitted {len(found)} runs as {jobs} jobs ({found[0].job} to {found[-1].job})", file=sys.stderr, flush=True
    )
    return found


def noted(folder: Path) -> Iterator[Submitted]:
    """The runs that a sweep has ever submitted, and their jobs.

    Raises:
        UserError: what is noted of them is damaged.
    """
    for path in sorted(folder.glob("slurm/*.json"), key=lambda path: path.stat().st_mtime):
        try:
            content = json.loads(path.read_text())
            runs = [[str(run[key]) for key in ("job", "told", "folder", "shown")] for run in content["runs"]]
            user = str(content["user"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}); find the jobs with squeue, and move the file away"
            ) from error
        for job, told, place, shown in runs:
            yield Submitted(user, job, told, Path(place), shown)


def still_queued(folder: Path) -> list[Submitted]:
    """Those whose jobs are waiting or computing, and that have not ended in them."""
    return [job for job, _ in _still(folder)]


def _still(folder: Path) -> list[tuple[Submitted, tuple[str, str]]]:
    found = list(noted(folder))
    there = queue.queue({job.user for job in found}) if found else {}
    ended = folder / "slurm" / "ended"
    return [(job, there[job.job]) for job in found if job.job in there and not (ended / f"{job.told}.json").exists()]


def queued(folder: Path) -> dict[Path, str]:
    """What Slurm says of the runs that it has, by folder.

    Raises:
        UserError: it cannot be asked now.
    """
    told = {}
    for job, (state, reason) in _still(folder):
        why = f", {reason}" * (reason not in USUAL)
        told[job.folder] = f"{'queued' if state in queue.WAITING else 'in a job'} ({job.job}{why})"
    return told


def watched(jobs: Sequence[Submitted], place: Path, folder: Path) -> dict[str, Outcome]:
    """Wait until every run has ended, or its job has without a word, and tell of each.

    Raises:
        Stopped: by a signal to this process; the jobs go on.
    """
    found: dict[str, Outcome] = {}
    missing: dict[str, int] = {}
    complained: set[str] = set()
    progress, wait_s, asked = Progress(len(jobs)), ASK_S[0], -ASK_S[0]
    try:
        while len(found) < len(jobs):
            names = {path.name for path in (place / "ended").iterdir()}
            for job in (job for job in jobs if job.told not in found and f"{job.told}.json" in names):
                found[job.told] = outcome_in(place / "ended" / f"{job.told}.json")
                _tell(progress, job, found[job.told])
            if len(found) < len(jobs) and time.monotonic() - asked >= wait_s:
                asked, wait_s = time.monotonic(), min(1.2 * wait_s, ASK_S[1])
                try:
                    there = queue.queue({job.user for job in jobs})
                except UserError as error:  # a busy controller; the jobs go on
                    _note(f"{error}; asked again in {wait_s:.0f} s", complained)
                    continue
                _complain(there, jobs, complained)
                for job in (job for job in jobs if job.told not in found and job.job not in there):
                    missing[job.told] = missing.get(job.told, 0) + 1
                    if missing[job.told] > 1:  # its file may be on its way through the file system
                        found[job.told] = without_a_word(job, place)
                        _tell(progress, job, found[job.told])
                    wait_s = ASK_S[0]
            time.sleep(max(LOOK_S, len(jobs) / 1000))  # a long list of names is work for a file server
    except Stopped:
        print(
            f"the jobs go on; speechml sweep status {folder} tells of them, speechml sweep wait {folder} waits, and speechml "
            f"sweep cancel {folder} ends them", file=sys.stderr,
        )  # fmt: skip
        raise
    return found


def _tell(progress: Progress, job: Submitted, outcome: Outcome) -> None:
    progress.ended(Path(outcome.run) if outcome.run else job.folder, job.shown, outcome.error)


def _note(text: str, before: set[str]) -> None:
    """Tell something once."""
    if text.partition(";")[0] not in before:
        before.add(text.partition(";")[0])
        print(f"note: {text}", file=sys.stderr, flush=True)


def _complain(there: dict[str, tuple[str, str]], jobs: Sequence[Submitted], before: set[str]) -> None:
    """Tell once of each reason for which jobs wait that may never pass."""
    for job in jobs:
        state, reason = there.get(job.job, ("", "None"))
        if state == "PENDING" and reason not in USUAL and reason not in before:
            before.add(reason)
            _note(
                f"job {job.job} waits ({reason}), perhaps for ever; what it asks for may be more than there is", before
            )


def outcome_in(path: Path) -> Outcome:
    """What a job has told of a run."""
    try:
        content = json.loads(path.read_text())
        return Outcome(**{key: value for key, value in content.items() if key in Outcome._fields})
    except (OSError, ValueError, TypeError) as error:
        return Outcome(error=f"{path} cannot be read ({error})", again=True)


def without_a_word(job: Submitted, place: Path) -> Outcome:
    """The outcome of a run whose job is gone and has told nothing: it was stopped, or died."""
    run = str(job.folder) if job.folder.is_absolute() else ""
    if run and condition(job.folder)[0] == "stopped":
        return Outcome(error="stopped", run=run, again=True, stopped="a signal")
    logs = ", ".join(str(path) for path in sorted((place / "logs").glob(f"{job.job}_*log.out")))
    told = f"its job {job.job} has ended before it ({queue.ended(job.job)}){'; see ' * bool(logs)}{logs}"
    return Outcome(error=told, run=run, again=True)
