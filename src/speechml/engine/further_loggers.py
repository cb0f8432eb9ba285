"""Loggers beside TensorBoard's: the journal, which trackers are sent from, and whatever else a config names."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from speechml.config.instantiate import build, import_class, parameters
from speechml.contracts import Config
from speechml.errors import UserError, echo, machine_failure, reason
from speechml.report.sending import ENDING_S, Sender, check_installed, log, set_whole, trackers_of, warn
from speechml.runs.folder import JOURNAL

CALLS = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint")


def build_loggers(nodes: Config, folder: Path) -> list[Logger]:
    """The loggers of a config but for TensorBoard's; nothing is written yet.

    Args:
        nodes: by their names in the config; true for a tracker.
        folder: of the run; what a class writes goes there, unless its node has a `save_dir`.

    Raises:
        UserError: a tracker that is not installed, or what a class refuses.
    """
    loggers: list[Logger] = []
    if trackers := trackers_of(nodes):
        check_installed(trackers)
        loggers.append(Journal(folder, trackers))
    for name, node in nodes.items():
        if isinstance(node, dict):
            where = f"logger.{name}"
            takes_folder = "save_dir" in parameters(import_class(node.get("_target_"), f"{where}."))
            one: Logger = build(
                {**({"save_dir": str(folder)} if takes_folder else {}), **node}, where=where, kind=Logger
            )
            loggers.append(guard(one, where))
    return loggers


def find_journal(loggers: Sequence[Logger]) -> Journal | None:
    """The journal among some loggers."""
    return next((one for one in loggers if isinstance(one, Journal)), None)


def guard(logger: Logger, name: str) -> Logger:
    """A logger whose failures are one warning, and end no training."""
    failed: list[Exception] = []

    def guarded(call: Callable[..., Any]) -> Callable[..., None]:
        @wraps(call)
        def attempt(*args: object, **options: object) -> None:
            try:
                call(*args, **options)
            except Exception as error:  # of a class of others, and its server
                if not failed:
                    text = f"{name} {type(logger).__name__} failed ({type(error).__name__}: {reason(error)})"
                    log.warning(text)
                    echo(f"warning: {text}; the run goes on without it", file=sys.stderr, flush=True)
                failed.append(error)

        return attempt

    for call in CALLS:
        setattr(logger, call, guarded(getattr(logger, call)))
    return logger


class Journal(Logger):
    """Writes what is logged to journal.jsonl, a row a line, from which trackers are sent what a checkpoint knows.

    It is written when a checkpoint is, and cut to what a checkpoint knew when a run goes on: a step of a killed training
    stands there once, and what is taught again after it has not been sent. Only one of several ranks writes.

    Args:
        folder: of the run.
        trackers: that are sent to.
    """

    def __init__(self, folder: Path, trackers: Sequence[str]) -> None:
        super().__init__()
        self.folder, self.path = folder, folder / JOURNAL
        self.lines: list[str] = []  # that have yet to be written
        self.senders = [Sender(folder, tracker) for tracker in trackers]
        self.failed: set[str] = set()
        self.covered = 0  # bytes of the journal that a checkpoint knows
        self.begun = False

    name = property(lambda _: "journal")
    version = property(lambda _: "")
    save_dir = property(lambda self: str(self.folder))

    @rank_zero_only
    def log_hyperparams(self, *_: object, **__: object) -> None:
        """Nothing: the config says it."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        self.lines.append(json.dumps({"step": int(step or 0), "time": round(time.time(), 3), "values": values}) + "\n")

    @rank_zero_only
    def save(self) -> None:
        """Write what was logged since; where there is no room, the next time tries it again."""
        if not self.lines:
            return
        text = "".join(self.lines).encode()
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as file:
                file.write(text)
            self.lines = []
        except OSError as error:
            with suppress(OSError), self.path.open("r+b") as file:
                file.truncate(size)  # no half a row
            if (failure := machine_failure(error, self.path)) is None:
                raise
            log.warning("%s: the run goes on, and the next saving tries it again", failure)

    def cover(self) -> None:
        """A checkpoint that knows all that is written is on the disk: it may be sent. Nobody waits for that."""
        self.covered = self.path.stat().st_size if self.path.exists() else 0
        self._begin()
        for sender in self.senders:
            if sender.tracker not in self.failed and not sender.tell(str(self.covered)):
                self._has_ended_well(sender, 0)

    def end(self, is_done: bool) -> None:
        """Send the rest when the run has ended and its card says how; a tracker that fails or hangs is one warning."""
        self.save()
        self._begin()
        before, whole = time.monotonic(), []
        try:
            for sender in self.senders:  # those that have failed from the beginning: they may have come back
                sender.tell(f"{self.covered} end")
            for sender in self.senders:
                if self._has_ended_well(sender, ENDING_S - (time.monotonic() - before)):
                    whole.append(sender.tracker)
        finally:
            for sender in self.senders:
                sender.close()
        if is_done:
            with suppress(OSError):  # then the same command sends it once more, which changes nothing
                set_whole(self.folder, whole)

    def _has_ended_well(self, sender: Sender, seconds: float) -> bool:
        try:
            sender.wait(seconds)
        except UserError as error:
            if sender.tracker not in self.failed:
                warn(error, self.folder, sender.tracker)
            self.failed.add(sender.tracker)
            return False
        return True

    def _begin(self) -> None:
        """Name the run at trackers, and say that none of them has all of it."""
        if not self.begun:
            with suppress(OSError):  # the tracker says that it is not there
                set_whole(self.folder, ())
            self.begun = True
