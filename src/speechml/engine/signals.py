"""Signals that ask a run to stop: they set a flag, and the run ends when its step is done and saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist

Handler = Callable[[int, FrameType | None], None]

# A terminal's Ctrl-C, its end, `kill`, and what clusters send ahead of a time limit or a preemption.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
RESUMABLE = 75  # exit code EX_TEMPFAIL of sysexits.h: not done, but the same command goes on
NOTHING, SAVE, STOP = range(3)  # what is to be done before the next step; of several ranks' wishes the greatest counts

early_signals: list[str] = []  # before a run began: an exception is lost where it meets a destructor, this is not


class Stopped(SystemExit):
    """A run has saved itself because a signal asked it to stop; uncaught, it is exit code RESUMABLE.

    Args:
        signal_name: as "SIGTERM".
        step: the last one that was saved; None when the training was over.
    """

    def __init__(self, signal_name: str, step: int | None) -> None:
        super().__init__(RESUMABLE)
        self.signal_name, self.step = signal_name, step
        when = "when its training was over" if step is None else f"after step {step}"
        self.reason = f"stopped by {signal_name} {when}"

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int | None]]:  # worker processes pass it on
        return Stopped, (self.signal_name, self.step)


@contextmanager
def interruptible(patient: bool = False) -> Iterator[None]:
    """Inside, where this process trains no run, a signal ends it with RESUMABLE at once: it has nothing to save.

    Args:
        patient: note USR1, which a cluster sends ahead of time, for the run that is to begin.
    """

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (as signal handlers are called)
        name = signal.Signals(number).name
        early_signals.append(name)
        _silence_dead_terminal(number)
        if patient and number == signal.SIGUSR1:
            return
        os.write(2, f"\nstopped by {name}; the same command goes on\n".encode())
        raise Stopped(name, None)

    early_signals.clear()
    with _handling(leave):
        yield


def _silence_dead_terminal(number: int) -> None:
    """Write nowhere any more where the terminal has ended: what is printed would fail, and the run with it."""
    if number == signal.SIGHUP:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if os.isatty(stream):
                os.dup2(nowhere, stream)


def _handled_signals() -> list[signal.Signals]:
    """The signals that are handled: `nohup` has asked for SIGHUP to be ignored."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    """SIGNALS are handled so inside, and as before afterwards; only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def ignore_signals() -> Iterator[None]:
    """Inside, signals do nothing to this process: it is ending already, and others with it."""
    with _handling(lambda *_: None):
        yield


class Stop:
    """Which signal has asked for a stop, "" as long as none has."""

    def __init__(self) -> None:
        self.asked_by = early_signals[-1] if early_signals else ""

    def is_due(self, steps: int) -> bool:
        """Whether to stop now, when so many steps are done since the process began with the run.

        USR1 comes ahead of time, and may do so while a job is loading: without a step it would not get on.
        """
        return bool(self.asked_by) and (self.asked_by != "SIGUSR1" or steps > 0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals inside, and those that came before; before and after they mean what they meant."""
        self.asked_by = self.asked_by or (early_signals[-1] if early_signals else "")
        with _handling(self._note):
            yield

    def listen(self) -> None:
        """Take the signals again from whoever took them; Lightning does, and would act inside a step."""
        if threading.current_thread() is threading.main_thread():
            for number in _handled_signals():
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked_by == "SIGINT":  # asked twice by hand: no step is waited for
            signal.default_int_handler(number, frame)
        if number == signal.SIGINT and os.isatty(2):
            os.write(2, b"\nstopping when this step is done and saved; Ctrl-C again stops at once\n")
        _silence_dead_terminal(number)
        self.asked_by = signal.Signals(number).name


class Agreement:
    """What ranks do before a step, the same on all: the greatest of what they wished one step earlier.

    The wishes travel while the step is computed, so nobody waits for them; one process goes by its wish at once.
    """

    def __init__(self) -> None:
        self.group: dist.ProcessGroup | None = None
        self.pending: tuple[torch.Tensor, dist.Work] | None = None

    def open(self) -> None:
        """To be called by every rank once a group of processes stands."""
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            group = dist.new_group(backend="gloo")  # of the CPU, whatever the gradients travel by
            assert isinstance(group, dist.ProcessGroup)  # every rank is a member
            self.group = group

    def reach(self, wish: int) -> int:
        """What all ranks do now; `wish` is what this one would do."""
        if self.group is None:
            return wish
        import torch
        import torch.distributed as dist

        agreed = self.close()
        # What is done now need not be wished for the next step as well.
        value = torch.tensor(NOTHING if agreed == wish == SAVE else wish)
        self.pending = value, dist.all_reduce(value, dist.ReduceOp.MAX, group=self.group, async_op=True)
        return agreed

    def close(self) -> int:
        """Wait for what is under way."""
        if self.pending is None:
            return NOTHING
        value, work = self.pending
        self.pending = None
        work.wait()
        return int(value)
