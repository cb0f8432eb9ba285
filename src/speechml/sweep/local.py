"""Runs computed on this machine: one after another in this process, or side by side by worker processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from speechml.children import start_worker
from speechml.engine.signals import RESUMABLE, handle_signals
from speechml.sweep.jobs import Job, Outcome, compute_when_free, done_outcome, lost_outcome
from speechml.sweep.status import Progress


class InProcess:
    """Runs computed one after another in this process; `progress` is told of those that begin."""

    capacity = 1
    together = False

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress
        self.waiting: deque[Job] = deque()

    def submit(self, jobs: Sequence[Job]) -> None:
        self.waiting += jobs

    def next_job(self) -> Job:
        """The next that waits, which is computed from now on."""
        job = self.waiting.popleft()
        if self.progress:
            self.progress.begin(job)
        return job

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        while self.waiting:
            job = self.next_job()
            yield job, compute_when_free(job)

    def close(self) -> None:
        self.waiting.clear()


class Pool(InProcess):
    """Runs computed by processes of this machine, which take the next as soon as they are done.

    A process that dies fails its run alone.

    Args:
        capacity: number of processes, which share the processor's cores.
        gpus: that they are spread over; each sees one.
        logs: folder for what they print.
    """

    def __init__(self, capacity: int, gpus: Sequence[str], logs: Path, progress: Progress | None = None) -> None:
        super().__init__(progress)
        self.capacity = capacity
        given = {"OMP_NUM_THREADS": str(max(1, cores() // capacity)), **os.environ}
        seen = [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}]
        self.workers = [
            _Worker({**given, **seen[place % len(seen)]}, logs / f"worker-{place}.log") for place in range(capacity)
        ]

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        while True:
            for worker in self.workers:
                if not worker.jobs and (jobs := self.next_jobs()):
                    worker.take(jobs)
            busy = {worker.results: worker for worker in self.workers if worker.jobs}
            if not busy:
                return
            for results in select.select(list(busy), [], [])[0]:
                yield from busy[results].finish()

    def next_jobs(self) -> list[Job]:
        """Those that one process computes from now on."""
        return [self.next_job()] if self.waiting else []

    def close(self) -> None:
        """End the processes: idle ones at once, busy ones when they have marked their runs stopped, or by force."""
        super().close()
        processes = [worker.process for worker in self.workers if worker.process]
        with handle_signals(lambda *_: None):  # a second signal must not leave them alone
            for process in processes:
                process.stdin.close()  # type: ignore[union-attr] # it is a pipe
            # Asked once more they go on to the end of their step, unless it takes too long.
            for wait_s, word in ((1.0, signal.SIGTERM), (30.0, signal.SIGKILL)):
                until = time.monotonic() + wait_s
                while any(process.poll() is None for process in processes) and time.monotonic() < until:
                    time.sleep(0.01)
                for process in processes:
                    process.send_signal(word)  # nothing where it has ended
            for process in processes:
                process.wait()


class _Worker:
    """A place for a process that computes jobs, given as a line, and answers each with a line; what it prints is logged."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment, self.log = environment, log
        self.process: subprocess.Popen[bytes] | None = None
        self.jobs: list[Job] = []

    def take(self, jobs: list[Job]) -> None:
        """Compute jobs; in a new process where there is none, or it has died since its last ones."""
        self.jobs = jobs
        process = self.process if self.process and self.process.poll() is None else self.start()
        with suppress(BrokenPipeError):  # `finish` finds it dead
            process.stdin.write(f"{json.dumps([asdict(job) for job in jobs])}\n".encode())  # type: ignore[union-attr] # a pipe

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, which loads what it needs."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        results, theirs = os.pipe()
        with self.log.open("ab") as output:
            self.process = start_worker(
                "serve", str(theirs), env=self.environment, pass_fds=(theirs,), stdin=subprocess.PIPE, stdout=output,
                stderr=output, bufsize=0,
            )  # fmt: skip
        os.close(theirs)
        self.results = os.fdopen(results)
        return self.process

    def finish(self) -> list[tuple[Job, Outcome]]:
        """What became of a job, when there is something to read; or of all jobs, when the process has ended."""
        process = self.process
        assert process
        if line := self.results.readline():
            number, outcome = json.loads(line)
            job = self.jobs.pop(next(place for place, one in enumerate(self.jobs) if one.number == number))
            return [(job, Outcome(**outcome))]
        jobs, self.jobs, code = self.jobs, [], process.wait()
        return [(job, self._without_answer(job, code)) for job in jobs]

    def _without_answer(self, job: Job, code: int) -> Outcome:
        """What became of a job whose process has ended with a code."""
        if code == RESUMABLE:
            stopped = Outcome(run=job.folder, error="stopped", may_retry=True, stopped_by="a signal")
            return done_outcome(job.folder, job) or stopped  # it may have come when the run was done
        how = "killed by signal " * (code < 0) + f"{abs(code)}"
        return lost_outcome(job.folder, f"its process died ({how}); {self.log} has what it printed", job)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
