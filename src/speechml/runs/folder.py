"""The folder of a run: locked by one process at a time, checked, and what a card says of the session."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import platform
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO, TypedDict

from speechml.config.compose import mask_secrets, simplify_overrides
from speechml.config.instantiate import user_code
from speechml.contracts import Config
from speechml.errors import FolderBusy, Pruned, UserError, machine_failure
from speechml.runs.card import CARD, CodeCard, Record, RunCard
from speechml.storage.plain_files import MOST_HASHED, check_plain, open_plain, plain_files

BLOCK = 4096  # bytes: with less, a file system is full
OWNER = 200  # letters of who holds a lock
LOCK = ".lock"  # holds the name of the process that has the folder
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # where a run goes on from, and the one before should it be damaged
PAGE = "report.html"
JOURNAL = (
    "journal.jsonl"  # what was logged, for trackers, a row a line; cut to what the checkpoint knows when a run goes on
)
TRACKED = "trackers.json"  # the run's name at trackers (`key`), and which of them have all of it (`whole`)
# What a card keeps checksums of.
KEPT = (
    "config.yaml",
    "metrics.csv",
    "test_sets/*.npz",
    "predictions.npz",
    "checkpoints/*.ckpt",
    "scores.txt",
    "figures/*.png",
    "audio/*",
)
PACKAGES = ("speechml", "torch", "torchaudio", "lightning", "hydra-core", "torchmetrics", "numpy")  # versions in a card


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder alone; a killed holder lets go by itself.

    Raises:
        FolderBusy: another process has it.
        UserError: what has the name of its lock is no plain file.
    """
    tries = 10
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = _open_lock(folder / LOCK)
        except (FileExistsError, FileNotFoundError):  # moved aside within these lines
            if (tries := tries - 1) == 0 or folder.is_file() or folder.is_symlink():
                raise
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if (tries := tries - 1) > 0:  # `speechml runs` may be looking whether somebody has it, for a moment
                    time.sleep(0.02)
                    continue
                file.seek(0)
                raise FolderBusy(str(folder), file.read(OWNER).strip() or "another process") from None
            if not _is_still(folder / LOCK, file.fileno()):
                continue  # the folder was moved aside while we opened its lock
            if os.fstat(file.fileno()).st_nlink > 1:  # a copy by hard links: what the other one says stays
                (folder / LOCK).unlink()
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            places = ("", "checkpoints/", "figures/", "audio/", "evaluations/", "test_sets/")
            for part in plain_files(folder, *(f"{place}.*.part*" for place in places)):
                (folder / part).unlink(missing_ok=True)  # a process was killed while it wrote
            yield
            return


def _open_lock(path: Path) -> TextIO:
    """Open the file of a lock, or make it; through a link another file would be emptied, and a pipe never opens."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise UserError(f"{path} is no plain file", fix="delete it") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no plain file", fix="delete it")
    return os.fdopen(descriptor, "a+", errors="replace")


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def check_own_files(folder: Path) -> None:
    """Raises UserError where something below a run's folder, which is to be written into, leads out of it."""
    try:
        check_plain(folder)
    except OSError as error:
        fix = "delete it, or replace the link by its target"
        raise UserError(str(error.strerror), "such a folder keeps its files itself", fix) from error


@contextmanager
def remove_if_empty(folder: Path) -> Iterator[None]:
    """Leave nothing behind where no card was written: a folder without a card is no run."""
    try:
        yield
    finally:
        if not (folder / CARD).exists():
            (folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()


def labels_of(config: Config, before: RunCard | None) -> Record:
    """Tags and note of a run: those of its command, else those that it had; None for none."""
    texts = {key: getattr(before, key, None) if config[key] is None else config[key] for key in ("tags", "note")}
    return {key: text or None for key, text in texts.items()}


def kept_files(folder: Path) -> list[Path]:
    """What a run leaves, but for its page, log and events."""
    names = (name for name in plain_files(folder, *KEPT) if Path(name).name != PREVIOUS and Path(name).name[0] != ".")
    return [folder / name for name in sorted(names)]


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run leaves, by its name relative to the run's folder. Raises OSError."""
    sums = {}
    for path in kept_files(folder):
        name = str(path.relative_to(folder))
        with open_plain(folder, name, MOST_HASHED) as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


class LogFormat(logging.Formatter):
    """A line with its time, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, or the lines of a traceback."""
        return mask_secrets(super().format(record))


def missing_files(folder: Path, card: RunCard) -> list[str]:
    """What a run that is done has left, by its card, and is not there any more or has not been written yet."""
    names = [*(card.files or {}), *[PAGE] * bool(card.page)]
    return [name for name in names if not (folder / name).is_file()]


class LogFile(logging.FileHandler):
    """A log that gives up in silence where there is no room for it: the run says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def translate_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of a failing disk into a sentence, also where Lightning or TensorBoard hide them in others."""
    hook = threading.excepthook
    threading.excepthook = lambda failed: None if machine_failure(failed.exc_value, is_hidden=True) else hook(failed)
    try:
        yield
    except (UserError, Pruned):
        raise
    except Exception as error:
        failure = machine_failure(error, folder, is_hidden=True)
        if failure is None and shutil.disk_usage(folder.parent).free < BLOCK:
            failure = machine_failure(OSError(errno.ENOSPC, "no space is left"), folder)
        if failure is None:
            raise
        raise failure from error
    finally:
        threading.excepthook = hook


class Session(TypedDict):
    """What a card says of the process that computed a run."""

    command: str
    code: CodeCard
    versions: dict[str, str]
    hardware: Record
    started: str


def describe_session(command: Sequence[str] | None = None) -> Session:
    """What a card says of the command, the code, the packages and the machine.

    Args:
        command: its words; None: those of this process.
    """
    return {
        "command": shlex.join(command or [Path(sys.argv[0]).name, *simplify_overrides(sys.argv[1:])]),
        "code": code_version(),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "hardware": hardware(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def code_version() -> CodeCard:
    """Version, commit, and a checksum of each module of the user's own."""
    commit, dirty = _commit_of_checkout()
    return CodeCard(version=_version("speechml"), commit=commit, dirty=dirty, own=user_code() or None)


@cache
def _commit_of_checkout() -> tuple[str | None, bool | None]:
    """Commit of the checkout that speechml runs from, and whether it was changed since; None for an installed wheel."""
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        # Only the code that runs counts, not notes or data beside it.
        return commit, bool(_git(here, "status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/conf"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def hardware() -> Record:
    """Processor, cores, CPU threads that compute, and GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "host": socket.gethostname(), "processor": _processor(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "gpus": gpus,
    }  # fmt: skip


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
