"""Sending runs to trackers, each by a process of its own (`report.tracking`), which may fail or hang as it likes."""

from __future__ import annotations

import logging
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from speechml.children import start_worker
from speechml.contracts import Config
from speechml.errors import EXTRAS, UserError, echo, machine_failure, reason
from speechml.report.finished_run import require_done
from speechml.runs.card import CARD
from speechml.runs.catalogue import lock_owner
from speechml.runs.folder import TRACKED, check_own_files
from speechml.runs.tables import check_choice
from speechml.storage.files import write_json
from speechml.storage.plain_files import read_json

TRACKERS = ("wandb", "mlflow")  # by their keys in the config, which are their packages
KEY = re.compile(r"[\w-]{1,100}", re.ASCII)
ENDING_S = 60.0  # that a run which has ended waits for its trackers, together
PUBLISHING_S = 600.0  # that `speechml publish` waits for one
log = logging.getLogger("speechml")


def trackers_of(loggers: Config) -> list[str]:
    """The trackers that a config's section of loggers asks for."""
    return [name for name in TRACKERS if loggers.get(name)]


def check_installed(trackers: Iterable[str]) -> None:
    """Raises UserError where a tracker's package is not there."""
    for name in trackers:
        if find_spec(name) is None:
            raise UserError(f"{name} is not installed", fix=f"pip install 'speechml[{EXTRAS[name]}]'")


class Sender:
    """A process that sends a run to a tracker.

    Args:
        folder: of the run.
        tracker: one of TRACKERS.
    """

    def __init__(self, folder: Path, tracker: str) -> None:
        self.folder, self.tracker = folder, tracker
        self.process: subprocess.Popen[bytes] | None = None
        self.failure = "it was not asked for"

    def tell(self, text: str) -> bool:
        """Pass on a line, without waiting; False where the process has ended."""
        try:
            self._start()
        except OSError as error:
            self.failure = reason(error)
            return False
        assert self.process
        assert self.process.stdin
        os.set_blocking(self.process.stdin.fileno(), False)
        with suppress(BlockingIOError, BrokenPipeError):  # it hangs, or has ended: seen at the end, or below
            os.write(self.process.stdin.fileno(), f"{text}\n".encode())
        return self.process.poll() is None

    def _start(self) -> None:
        if self.process is None:
            self.answer = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
            self.process = start_worker(
                "track", str(self.folder), self.tracker,
                stdin=subprocess.PIPE, stdout=self.answer, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def wait(self, seconds: float) -> str:
        """Wait for the end; what it says of where the run is.

        Raises:
            UserError: the reason why it is not sent, or not all of it.
        """
        if self.process is None:
            raise UserError(f"{self.folder} has not been sent to {self.tracker}", self.failure)
        try:
            code: int | None = self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            self.close()
        self.answer.seek(0)
        said = self.answer.read().decode(errors="replace").strip()
        if code is None:
            said = f"no answer within {seconds:.0f} s"
        if code != 0:
            raise UserError(f"{self.folder} has not been sent to {self.tracker}", said or f"exit code {code}")
        return said

    def close(self) -> None:
        """End the process, whatever it does."""
        if self.process:
            self.process.kill()
            self.process.wait()
            assert self.process.stdin
            self.process.stdin.close()
            self.process = None


def read_names(folder: Path) -> Config:
    """What trackers.json of a run says; a new name where there is none."""
    with suppress(OSError, ValueError, RecursionError):
        names = read_json(folder, TRACKED)
        if isinstance(names, dict) and isinstance(names.get("whole"), list) and KEY.fullmatch(str(names.get("key"))):
            return names
    own = re.sub(r"[^\w-]", "_", folder.resolve().name, flags=re.ASCII)[:50]
    return {"key": f"{own}-{secrets.token_hex(3)}", "whole": []}  # a run that is redone is another one


def set_whole(folder: Path, whole: Iterable[str]) -> None:
    """Note which trackers have all of a run."""
    write_json(folder / TRACKED, {**read_names(folder), "whole": sorted(whole)})


def send_whole(folder: Path, tracker: str, seconds: float) -> str:
    """Send a run that is done to a tracker; where it is.

    Raises:
        UserError: it cannot be sent.
    """
    set_whole(folder, [one for one in read_names(folder)["whole"] if one != tracker])
    sender = Sender(folder, tracker)
    sender.tell("0 end")
    where = sender.wait(seconds)
    set_whole(folder, {*read_names(folder)["whole"], tracker})
    return where


def send_missing(folder: Path, trackers: Iterable[str], again: bool = False) -> None:
    """Send a run that is done to those of some trackers that lack it, or to all again; where that fails it is a warning."""
    for tracker in sorted({*trackers} - (set() if again else {*read_names(folder)["whole"]})):
        try:
            echo(f"{tracker}: {send_whole(folder, tracker, ENDING_S)}")
        except UserError as error:
            warn(error, folder, tracker)


def warn(error: UserError, folder: Path, tracker: str) -> None:
    """Say what a tracker lacks of a run, and what makes up for it."""
    error.fix = f"speechml publish {folder} --to {tracker} sends it when it is done"
    log.warning("%s", error)
    echo(f"warning: {error}", file=sys.stderr, flush=True)


def publish(folders: Sequence[Path], trackers: Sequence[str]) -> bool:
    """Send finished runs to trackers, and say where they are; whether all went well.

    Raises:
        UserError: no such tracker, or it is not installed.
    """
    for tracker in trackers:
        check_choice("--to", tracker, TRACKERS)
    check_installed(trackers)
    failures = 0
    for folder in folders:
        try:
            require_done(folder)
            check_own_files(folder)
            if owner := lock_owner(folder):
                raise UserError(f"{folder} is held by {owner}", fix="wait for it")
            for tracker in trackers:
                echo(f"{folder}: {tracker}: {send_whole(folder, tracker, PUBLISHING_S)}")
        except (UserError, OSError) as error:
            failures += 1
            failure = error if isinstance(error, UserError) else machine_failure(error, folder / CARD)
            if failure is None:
                raise
            echo(f"error: {failure}", file=sys.stderr)
    return not failures
