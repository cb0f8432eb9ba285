"""Runs of a sweep trained together in this process: each is opened, all that fit together are trained as one, each is ended."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.hydra_config import HydraConfig

from speechml.engine.signals import Stop, Stopped
from speechml.errors import Pruned, UserError, echo, explain_missing_extras, machine_failure
from speechml.sweep.jobs import Job, JobConfigs, Outcome, compute_when_free, describe_error, outcome_of_value
from speechml.sweep.local import InProcess, Pool
from speechml.sweep.status import Progress

if TYPE_CHECKING:
    from speechml.engine.life import Life
    from speechml.engine.parts import Data
    from speechml.fused.member import Member

QUIET = {"figures", "listening", "progress"}
AT_ONCE = 200  # runs that are open at a time: each holds a lock and a log


class _Opened(NamedTuple):
    """A run that waits for its training."""

    job: Job
    life: Life
    member: Member


class _SharedStop(Stop):
    """Of runs that are trained together, and end in any order: signals are noted from before the first to after the last."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        yield

    @contextmanager
    def listening_for_all(self) -> Iterator[None]:
        """Note signals inside."""
        with super().listening():
            yield


class Fused(InProcess):
    """Runs computed in this process, those of one kind together.

    Args:
        capacity: runs that a search may have under way.
        figures: whether those that are trained together draw figures and write audio.
    """

    together = True

    def __init__(self, capacity: int, figures: bool = True, progress: Progress | None = None) -> None:
        super().__init__(progress)
        self.capacity, self.figures = capacity, figures
        self.data: dict[str, Data] = {}  # read before, by the keys that decide what is read
        self.configs = JobConfigs()

    def submit(self, jobs: Sequence[Job]) -> None:
        if not self.figures:
            for job in jobs:
                _leave_out_figures(job)
        super().submit(jobs)

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        while self.waiting:
            opened: list[_Opened] = []
            before = HydraConfig.instance().cfg
            try:
                yield from self._compute(opened)
            except BaseException as error:
                for run in opened:
                    _throw(run.life, error if isinstance(error, Stopped) else KeyboardInterrupt())
                raise
            finally:
                HydraConfig.instance().cfg = before

    def _compute(self, opened: list[_Opened]) -> Iterator[tuple[Job, Outcome]]:
        """Compute runs that wait; those that are open are in `opened`."""
        stop, alone = _SharedStop(), []
        with stop.listening_for_all():
            while self.waiting and len(opened) < AT_ONCE and not stop.asked_by:
                job = self.waiting.popleft()
                if not is_fused(job):
                    alone.append(job)
                    continue
                with _outcome_of_error(job) as failed:
                    if (value := self._open(job, stop, opened)) is not None:
                        yield job, value
                if failed and failed[0].is_busy:  # another process trains it, and soon it is done
                    alone.append(job)
                elif failed:
                    yield job, failed[0]
            from speechml.fused.training import group_members, train_together  # takes seconds, and not all need it

            if len(opened) > 1:
                groups = len(group_members([run.member for run in opened]))
                what = f"{len(opened)} runs are trained together in {groups} group{'s' * (groups > 1)}"
                echo(what, file=sys.stderr, flush=True)
            for member, error in train_together([run.member for run in opened], stop):
                run = next(run for run in opened if run.member is member)
                opened.remove(run)
                yield run.job, _end(run, error)
            if stop.asked_by:  # too late for those that were trained, but not for those that would follow
                raise Stopped(stop.asked_by, None)
        for job in alone:
            if self.progress:
                self.progress.begin(job)
            yield job, compute_when_free(job)

    def _open(self, job: Job, stop: Stop, opened: list[_Opened]) -> Outcome | None:
        """Begin with a run, which is added to `opened`; what came of it where there is nothing to train."""
        from speechml.fused.member import Member
        from speechml.sweep.training import open_checked

        config = job.config["config"]
        shared = json.dumps({k: v for k, v in config["data"].items() if k not in ("seed", "batch_size")}, default=str)
        life, self.data[shared] = open_checked(
            self.configs.load(job), Path(job.folder), job.config["hydra"], stop, self.data.get(shared)
        )
        try:
            run = next(life)
        except StopIteration as end:
            return outcome_of_value(end.value, job.folder)
        try:
            opened.append(_Opened(job, life, Member(run, shows_epochs=False)))
        except BaseException as error:
            _throw(life, error)
            raise
        return None


class FusedPool(Pool):
    """Runs computed by processes of this machine, each of which trains its share together; others one by one here.

    Args:
        capacity: runs that a search may have under way.
        processes: of this machine.
        figures: whether those that are trained together draw figures and write audio.
        logs: folder for what the processes print.
    """

    together = True

    def __init__(
        self, capacity: int, processes: int, figures: bool, logs: Path, progress: Progress | None = None
    ) -> None:
        super().__init__(processes, [], logs, progress)
        self.capacity, self.figures = capacity, figures
        for worker in self.workers:
            worker.start()  # they load while the runs are planned

    def submit(self, jobs: Sequence[Job]) -> None:
        if not self.figures:
            for job in jobs:
                _leave_out_figures(job)
        super().submit(jobs)

    def next_jobs(self) -> list[Job]:
        """A share of the runs that can be trained together."""
        jobs = [job for job in self.waiting if is_fused(job)]
        idle = sum(not worker.jobs for worker in self.workers)
        share = jobs[:: max(1, idle)][:AT_ONCE]
        for job in share:
            self.waiting.remove(job)
        if share:
            echo(f"{len(share)} runs begin in a process of their own", file=sys.stderr, flush=True)
        return share

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        while self.waiting:
            yield from super().outcomes()
            while self.waiting and not is_fused(self.waiting[0]):
                job = self.next_job()
                yield job, compute_when_free(job)


def is_fused(job: Job) -> bool:
    """Whether a run is one that can be trained together with others."""
    return bool(job.config.get("config", {}).get("engine") == "fused")


def _leave_out_figures(job: Job) -> None:
    """Let a run draw nothing, which counts in no id."""
    if is_fused(job):
        callbacks = job.config["config"]["callbacks"]
        job.config["config"]["callbacks"] = callbacks | dict.fromkeys(QUIET & callbacks.keys())


@contextmanager
def _outcome_of_error(job: Job) -> Iterator[list[Outcome]]:
    """Inside, an error ends one run alone: its outcome is in the list."""
    failed: list[Outcome] = []
    try:
        with explain_missing_extras():
            yield failed
    except Exception as error:  # whatever it is
        failed.append(_outcome(error, job))


def _outcome(error: Exception, job: Job) -> Outcome:
    known = isinstance(error, (UserError, Pruned))
    error = error if known else machine_failure(error) or error
    if not isinstance(error, (UserError, Pruned)):
        traceback.print_exception(error)
    return describe_error(error, job.folder)


def _end(run: _Opened, error: Exception | None) -> Outcome:
    """Test and record a run that has been trained, or record why it cannot be."""
    from speechml.engine.life import conclude

    try:
        if error:
            raise _throw(run.life, error)
        return outcome_of_value(conclude(run.life), run.job.folder)
    except Exception as raised:  # whatever it is, it ends this run alone
        return _outcome(raised, run.job)


def _throw(life: Life, error: BaseException) -> BaseException:
    """Let a run record an error; the error that it makes of it."""
    try:
        life.throw(error)
    except BaseException as raised:
        return raised
    return error
