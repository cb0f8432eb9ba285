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
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus

from speechml.errors import BadInput, Busy, NoSuchScore, UnusableData
from speechml.process import end_with

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


def outcome(returned: JobReturn) -> Outcome:
    """The outcome of a Hydra job."""
    from speechml.runs.identity import run_id
    from speechml.sweeps.trial import Pruned

    cfg: Any = returned.cfg
    run = f"{cfg.paths.runs}/{cfg.name}/{run_id(cfg)}"
    given = returned._return_value  # `return_value` would raise what the job raised
    if returned.status == JobStatus.COMPLETED:
        if isinstance(given, (int, float)) and math.isfinite(given):
            return Outcome(float(given), run)
        return Outcome(None, run, f"its score is {'absent' if given is None else given}")
    if isinstance(given, Pruned):
        return Outcome(None, run, pruned=True)
    text = " ".join(str(given).split()) or type(given).__name__
    if isinstance(given, BadInput):
        busy = isinstance(given, Busy)
        fatal = "objective" if isinstance(given, NoSuchScore) else "data" if isinstance(given, UnusableData) else ""
        return Outcome(None, run, text, again=busy, busy=busy, fatal=fatal)
    return Outcome(None, run, f"{type(given).__name__}: {text}", again=True)


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
    """Trials computed by `count` processes of this machine, which take the next as soon as they are done.

    They are forked before anything heavy is loaded, so that Hydra's state is theirs as it is.
    """

    def __init__(self, launch: Launch, count: int) -> None:
        self.launch, self.count = launch, count
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
        pipe.send((first, jobs))
        self.busy[pipe] = process, number

    def _start(self) -> tuple[Any, Connection]:
        ours, theirs = self.context.Pipe()
        strange = [ours, *self.busy, *(pipe for _, pipe in self.idle)]
        process = self.context.Process(target=serve, args=(theirs, strange, self.launch, self.count, os.getpid()))
        process.start()
        theirs.close()
        return process, ours

    def results(self) -> list[tuple[int, list[Outcome]]]:
        """Wait for a trial to be done; those that are."""
        found = []
        for ready in wait(list(self.busy)):
            pipe: Any = ready
            process, number = self.busy.pop(pipe)
            try:
                found.append((number, pipe.recv()))
                self.idle.append((process, pipe))
            except (EOFError, OSError):
                process.join()
                found.append((number, [Outcome(error=f"its process died ({process.exitcode})", again=True)]))
        return found

    def close(self) -> None:
        """End the workers: idle ones at once, busy ones when they have marked their runs stopped, or by force."""
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


def serve(pipe: Connection, strange: list[Connection], launch: Launch, count: int, parent: int) -> None:
    """A worker's life: trials come, outcomes go, until the pipe ends."""
    for other in strange:  # else the pipes of the other workers would not end with the parent
        other.close()
    end_with(parent)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    try:
        while True:
            first, jobs = pipe.recv()
            pipe.send(one_by_one(launch, first, jobs))
            sys.stdout.flush()
    except (EOFError, KeyboardInterrupt, BrokenPipeError, SystemExit):
        pass
