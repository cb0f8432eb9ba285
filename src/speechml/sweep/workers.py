"""Who computes the trials of a search: this process, worker processes, or a launcher of Hydra's."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus

from speechml.engine.process import end_with
from speechml.engine.signals import RESUMABLE, ignore_signals
from speechml.errors import FolderBusy, Pruned, UnknownScore, UnusableData, UserError

BUSY_S = 1.0
Job = list[str]  # the overrides of one run
Launch = Callable[[Sequence[Job], int], Sequence[JobReturn]]  # jobs, and the number of the first


class Outcome(NamedTuple):
    """What became of one run: its value, or why there is none."""

    value: float | None = None
    run: str = ""  # folder
    error: str = ""
    again: bool = False  # whether trying again may help
    busy: bool = False  # whether another process is computing the run
    pruned: bool = False
    fatal: str = ""  # `data` or `objective`, where it would be so for every trial that does not change them
    stopped: str = ""  # the signal that stopped it
    absent: bool = False  # whether it came to its end, but has no score to choose by


def outcome(returned: JobReturn) -> Outcome:
    """The outcome of a Hydra job."""
    from speechml.runs.identity import run_id

    cfg: Any = returned.cfg
    run = f"{cfg.paths.runs}/{cfg.name}/{run_id(cfg)}" if cfg is not None else returned.working_dir or ""
    given = returned._return_value  # `return_value` would raise what the job raised
    if returned.status == JobStatus.COMPLETED:
        if isinstance(given, (int, float)) and math.isfinite(given):
            return Outcome(float(given), run)
        return Outcome(None, run, f"its score is {'absent' if given is None else given}", absent=True)
    return described(given)._replace(run=run)


def described(error: Any) -> Outcome:
    """The outcome of a run that ended with an exception."""
    if isinstance(error, Pruned):
        return Outcome(error=str(error), pruned=True)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UserError):
        busy = isinstance(error, FolderBusy)
        fatal = "objective" if isinstance(error, UnknownScore) else "data" if isinstance(error, UnusableData) else ""
        return Outcome(error=text, again=busy, busy=busy, fatal=fatal)
    return Outcome(error=f"{type(error).__name__}: {text}", again=True)


def one_by_one(launch: Launch, first: int, jobs: list[Job]) -> list[Outcome]:
    """The executions of a trial, each only if those before it ended well."""
    done: list[Outcome] = []
    for place, job in enumerate(jobs):
        try:
            found = outcome(launch([job], first + place)[0])
            while found.busy:  # another search, or somebody alone, computes the same run: soon it is done
                time.sleep(BUSY_S)
                found = outcome(launch([job], first + place)[0])
            done.append(found)
        except Exception as error:  # composing the config failed: the trial failed, not the search
            done.append(Outcome(None, "", " ".join(str(error).split())))
        if done[-1].value is None:
            break
    return done


class Launcher:
    """Trials computed by one of Hydra's launchers, `count` of them together."""

    def __init__(self, launch: Launch, count: int, alone: bool) -> None:
        self.launch, self.count, self.alone = launch, count, alone
        self.waiting: list[tuple[int, int, list[Job]]] = []

    @property
    def free(self) -> int:
        """How many trials may be submitted now."""
        return self.count - len(self.waiting)

    def submit(self, number: int, first: int, jobs: list[Job]) -> None:
        """Take trial `number`, whose first job has the number `first`."""
        self.waiting.append((number, first, jobs))

    def results(self) -> list[tuple[int, list[Outcome]]]:
        """Compute what was submitted."""
        batch, self.waiting = self.waiting, []
        if self.alone:
            return [(number, one_by_one(self.launch, first, jobs)) for number, first, jobs in batch]
        returned = [outcome(r) for r in self.launch([job for _, _, jobs in batch for job in jobs], batch[0][1])]
        found = []
        for number, _, jobs in batch:
            found.append((number, returned[: len(jobs)]))
            returned = returned[len(jobs) :]
        return found

    def close(self) -> None:
        """Nothing to end."""


class Workers:
    """Trials, or runs of a sweep, computed by `count` processes of this machine, which take the next as soon as they are done.

    They are forked before anything heavy is loaded, so that Hydra's state is theirs as it is.

    Args:
        launch: of Hydra's launcher.
        count: of processes, which share the processor's cores.
        gpus: that they are spread over; each sees one.
        logs: folder for what they print; None: they print where this process does.
    """

    def __init__(self, launch: Launch, count: int, gpus: Sequence[str] = (), logs: Path | None = None) -> None:
        self.launch, self.count, self.gpus, self.logs = launch, count, gpus, logs
        self.places = list(range(count))  # that are free: a GPU and a log each
        self.place_of: dict[Connection, int] = {}
        self.context = multiprocessing.get_context("fork")
        self.idle: list[tuple[Any, Connection]] = []
        self.busy: dict[Connection, tuple[Any, int]] = {}  # by pipe: process and number of the trial
        for _ in range(count):  # all now: a sampler may load torch before the first trial
            self.idle.append(self._start())

    @property
    def free(self) -> int:
        """How many trials may be submitted now."""
        return self.count - len(self.busy)

    def submit(self, number: int, first: int, jobs: list[Job]) -> None:
        """Give trial `number`, whose first job has the number `first`, to a worker."""
        process, pipe = self.idle.pop() if self.idle else self._start()
        try:
            pipe.send((first, jobs))
        except OSError:  # it has died since its last job
            self.places.append(self.place_of.pop(pipe))
            process, pipe = self._start()
            pipe.send((first, jobs))
        self.busy[pipe] = process, number

    def _start(self) -> tuple[Any, Connection]:
        ours, theirs = self.context.Pipe()
        strange = [ours, *self.busy, *(pipe for _, pipe in self.idle)]
        place = self.place_of[ours] = self.places.pop(0)
        process = self.context.Process(target=self._serve, args=(theirs, strange, place, os.getpid()))
        process.start()
        theirs.close()
        return process, ours

    def _serve(self, pipe: Connection, strange: list[Connection], place: int, parent: int) -> None:
        """The life of the process in a place."""
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[place % len(self.gpus)]
        if self.logs:
            self.logs.mkdir(exist_ok=True)
            with (self.logs / f"worker-{place}.log").open("ab") as log:
                for stream in (1, 2):
                    os.dup2(log.fileno(), stream)
        serve(pipe, strange, self.launch, self.count, parent)

    def results(self, timeout_s: float | None = None) -> list[tuple[int, list[Outcome]]]:
        """Wait for a trial to be done, not longer than `timeout_s`; those that are."""
        found = []
        for ready in wait(list(self.busy), timeout_s):
            pipe: Any = ready
            process, number = self.busy.pop(pipe)
            try:
                found.append((number, pipe.recv()))
                self.idle.append((process, pipe))
            except (EOFError, OSError):
                process.join()
                self.places.append(self.place_of.pop(pipe))
                if process.exitcode == RESUMABLE:
                    found.append((number, [Outcome(error="stopped", again=True, stopped="a signal")]))
                    continue
                how = "killed by signal " * (process.exitcode < 0) + f"{abs(process.exitcode)}"
                where = f"; {self.logs} has what it printed" if self.logs else ""
                found.append((number, [Outcome(error=f"its process died ({how}){where}", again=True)]))
        return found

    def close(self) -> None:
        """End the workers: idle ones at once, busy ones when they have marked their runs stopped, or by force."""
        with ignore_signals():  # a second signal must not leave them alone
            self._close()

    def _close(self) -> None:
        for _, pipe in self.idle:
            pipe.close()
        everybody = [process for process, _ in [*self.idle, *self.busy.values()]]
        # Asked once more they go on to the end of their step, unless it takes too long.
        for wait_s, word in ((1.0, signal.SIGTERM), (30.0, signal.SIGKILL)):
            until = time.monotonic() + wait_s
            for process in everybody:
                process.join(max(0.0, until - time.monotonic()))
            for process in everybody:
                if process.is_alive():
                    os.kill(process.pid, word)
        for process in everybody:
            process.join()
        self.idle, self.busy = [], {}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve(pipe: Connection, strange: list[Connection], launch: Launch, count: int, parent: int) -> None:
    """A worker's life: trials come, outcomes go, until the pipe ends."""
    for other in strange:  # else the pipes of the other workers would not end with the parent
        other.close()
    end_with(parent)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    try:
        while True:
            first, jobs = pipe.recv()
            pipe.send(one_by_one(launch, first, jobs))
            sys.stdout.flush()
    except (KeyboardInterrupt, SystemExit):
        sys.exit(RESUMABLE)
    except (EOFError, BrokenPipeError):
        pass
