"""Runs computed on this machine: one after another in this process, or side by side by worker processes."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from speechml.contracts import Config
from speechml.engine.signals import RESUMABLE, handle_signals
from speechml.errors import UserError
from speechml.process import start_worker
from speechml.sweep.jobs import Job, Outcome, compute_when_free
from speechml.sweep.progress import Progress

REFRESH_S = 0.5  # between two looks at what is running


class InProcess:
    """Runs computed one after another in this process."""

    capacity = 1

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress
        self.waiting: deque[Job] = deque()

    def submit(self, jobs: Sequence[Job]) -> None:
        self.waiting += jobs

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        while self.waiting:
            job = self.waiting.popleft()
            if self.progress:
                self.progress.begin(job)
            yield job, compute_when_free(job)

    def close(self) -> None:
        self.waiting.clear()


class Pool:
    """Runs computed by processes of this machine, which take the next as soon as they are done.

    A process that dies fails its run alone.

    Args:
        capacity: number of processes, which share the processor's cores.
        gpus: that they are spread over; each sees one.
        logs: folder for what they print.
        progress: that is told of runs that begin.
    """

    def __init__(self, capacity: int, gpus: Sequence[str], logs: Path, progress: Progress | None = None) -> None:
        self.capacity, self.gpus, self.logs, self.progress = capacity, gpus, logs, progress
        self.waiting: deque[Job] = deque()
        self.workers: list[_Worker | None] = [None] * capacity  # by place: a GPU and a log each

    def submit(self, jobs: Sequence[Job]) -> None:
        self.waiting += jobs

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        while self._start_waiting():
            busy = {worker.results: place for place, worker in enumerate(self.workers) if worker and worker.job}
            for results in select.select(list(busy), [], [], REFRESH_S)[0]:
                yield self._finish(busy[results])
            if self.progress:
                self.progress.redraw()

    def _start_waiting(self) -> bool:
        """Give jobs to processes that have none; whether any process has one."""
        for place, worker in enumerate(self.workers):
            if self.waiting and not (worker and worker.job):
                job = self.waiting.popleft()
                if worker is None or not worker.take(job):  # none yet, or it has died since its last job
                    worker = self.workers[place] = _Worker(self.environment(place), self._log(place))
                    worker.take(job)
                if self.progress:
                    self.progress.begin(job)
        return any(worker and worker.job for worker in self.workers)

    def _finish(self, place: int) -> tuple[Job, Outcome]:
        worker = self.workers[place]
        assert worker
        job, worker.job = worker.job, None
        assert job
        if line := worker.results.readline():
            return job, Outcome(**json.loads(line))
        self.workers[place] = None
        code = worker.process.wait()
        if code == RESUMABLE:
            return job, Outcome(run=job.folder, error="stopped", may_retry=True, stopped_by="a signal")
        how = "killed by signal " * (code < 0) + f"{abs(code)}"
        return job, Outcome(
            run=job.folder, error=f"its process died ({how}); {self.logs} has what it printed", may_retry=True
        )

    def environment(self, place: int) -> dict[str, str]:
        """The variables of the process in a place."""
        threads = {"OMP_NUM_THREADS": str(max(1, cores() // self.capacity))}
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[place % len(self.gpus)]} if self.gpus else {}
        return {**threads, **os.environ, **gpu}

    def _log(self, place: int) -> Path:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"worker-{place}.log"

    def close(self) -> None:
        """End the processes: idle ones at once, busy ones when they have marked their runs stopped, or by force."""
        workers = [worker for worker in self.workers if worker]
        self.waiting.clear()
        with handle_signals(lambda *_: None):  # a second signal must not leave them alone
            for worker in workers:
                worker.process.stdin.close()  # type: ignore[union-attr] # it is a pipe
            # Asked once more they go on to the end of their step, unless it takes too long.
            for wait_s, word in ((1.0, signal.SIGTERM), (30.0, signal.SIGKILL)):
                until = time.monotonic() + wait_s
                while any(worker.process.poll() is None for worker in workers) and time.monotonic() < until:
                    time.sleep(0.01)
                for worker in workers:
                    if worker.process.poll() is None:
                        worker.process.send_signal(word)
            for worker in workers:
                worker.process.wait()
                worker.results.close()
        self.workers = [None] * self.capacity


class _Worker:
    """A process that computes jobs, given as lines, and answers each with a line."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        results, theirs = os.pipe()
        with log.open("ab") as output:
            self.process = start_worker(
                "serve", str(theirs), env=environment, pass_fds=(theirs,), stdin=subprocess.PIPE, stdout=output,
                stderr=output, bufsize=0,
            )  # fmt: skip
        os.close(theirs)
        self.results = os.fdopen(results)
        self.job: Job | None = None

    def take(self, job: Job) -> bool:
        """Compute a job; False where the process has ended."""
        assert self.process.stdin
        try:
            self.process.stdin.write(f"{json.dumps(asdict(job))}\n".encode())
        except BrokenPipeError:
            return False
        self.job = job
        return True


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [word.strip() for word in visible.split(",") if word.strip() and word.strip() != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    try:  # torch would take seconds to load
        found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(number) for number, line in enumerate(found.stdout.splitlines()) if line.startswith("GPU ")]


def pool_size(options: Config) -> int | None:
    """How many runs `hydra/launcher=local` computes at a time; None where that follows from the GPUs.

    Raises:
        UserError: `n_jobs` is no number of processes.
    """
    count = options.get("n_jobs")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise UserError(f"hydra.launcher.n_jobs is {count}; it must be a whole number above 0, or null")
    return count
