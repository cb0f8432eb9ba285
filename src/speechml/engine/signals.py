"""Signals that ask a run to stop: they set a flag, and the run ends when its step is done and saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from speechml.process import SIGNALS

Handler = Callable[[int, FrameType | None], None]

RESUMABLE = 75  # exit code EX_TEMPFAIL of sysexits.h: not done, but the same command goes on

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
    with handle_signals(leave):
        yield


def _silence_dead_terminal(number: int) -> None:
    """Write nowhere any more where the terminal has ended: what is printed would fail, and the run with it."""
    if number == signal.SIGHUP:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if os.isatty(stream):
                os.dup2(nowhere, stream)


def _set_handler(handler: Handler) -> dict[int, object]:
    """Handle SIGNALS so from now on, and give what handled them; only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()  # as `nohup` asks
    return {number: signal.signal(number, handler) for number in SIGNALS if number not in ignored}


@contextmanager
def handle_signals(handler: Handler) -> Iterator[None]:
    """SIGNALS are handled so inside, and as before afterwards."""
    before = _set_handler(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)  # type: ignore[arg-type] # what `signal` has returned


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
        with handle_signals(self._note):
            yield

    def listen(self) -> None:
        """Take the signals again from whoever took them; Lightning does, and would act inside a step."""
        _set_handler(self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked_by == "SIGINT":  # asked twice by hand: no step is waited for
            signal.default_int_handler(number, frame)
        if number == signal.SIGINT and os.isatty(2):
            os.write(2, b"\nstopping when this step is done and saved; Ctrl-C again stops at once\n")
        _silence_dead_terminal(number)
        self.asked_by = signal.Signals(number).name
