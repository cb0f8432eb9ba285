"""Files that are whole or absent."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from speechml.errors import UserError, echo, machine_failure

log = logging.getLogger("speechml")


@contextmanager
def new_version(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write; it replaces `path` at the end, and nothing is left of it where that fails.

    What a killed process has left, `remove_leftovers` removes.
    """
    part = new_part(path)
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):  # the error under way counts more
            part.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes | memoryview, before: Path | None = None, durable: bool = True) -> None:
    """Replace `path` by `content`: a reader sees the old content or the new, never a part, whatever happens.

    Args:
        path: its folder is there.
        content: whole.
        before: where the old content is kept, in the same folder.
        durable: wait until it is on the disk, so that it outlives a power cut, too.
    """
    with new_version(path) as part:
        with part.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if before is not None and path.exists():
            path.replace(before)
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def expand_home(path: str) -> Path:
    """A path, whose `~` is a home folder. Raises UserError where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path} is in a home folder, and there is none of that name", fix="give the whole path"
        ) from error


def make_durable(path: Path) -> None:
    """Wait until a file is on the disk.

    What failed once may be lost, and a second `fsync` would not say so: the file is written anew from what is read of it.
    Raises OSError where that fails as well.
    """
    try:
        sync(path)
    except OSError:
        write_bytes(path, path.read_bytes())


class Repeated:
    """Writing that is done again and again: one failure is a warning, a second in a row is raised, as is one at the end."""

    def __init__(self) -> None:
        self.failures = 0

    def attempt(self, write: Callable[[], None], is_last: bool = False) -> None:
        """Write, and warn where that fails for the first time. Raises OSError."""
        try:
            write()
        except OSError as error:
            self.failures += 1
            if is_last or self.failures > 1 or not (failure := machine_failure(error)):
                raise
            text = f"{failure.what} ({failure.why}): the run goes on, and the next saving tries it again"
            log.warning(text)
            echo(f"warning: {text}", file=sys.stderr, flush=True)
        else:
            self.failures = 0


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, as `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: object) -> None:
    """Replace `path` by `content` as JSON, numbers that JSON lacks as null."""
    write_text(path, json.dumps(_finite(content), indent=1, sort_keys=False, allow_nan=False) + "\n")


def _finite(value: object) -> object:
    """`value` with null in place of numbers that are not finite, and tuples as lists."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: it cannot be made or written to.
    """
    for tries in range(20, 0, -1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):  # has no name that another process could take away
                return
        except OSError as error:
            if tries > 1 and error.errno in (errno.ENOENT, errno.EEXIST):  # another process took the empty folder away
                continue
            raise UserError(f"{folder} cannot be written to", str(error.strerror), "give another folder") from error


@contextmanager
def lock_file(path: Path, must: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, waiting for whoever has it; a killed holder lets go by itself.

    Args:
        path: the folders above it are made.
        must: fail where the file system has no locks (Lustre mounted without them); else go on without one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if must or error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
        yield


builds: dict[Path, bool] = {}  # what `build_once` has given in this process, and whether it had to build it


def new_part(path: Path) -> Path:
    """A name beside `path` that no other builder uses and that tells whose it is; a name has at most 255 bytes."""
    name = os.fsdecode(os.fsencode(path.name)[:100])
    return path.with_name(f".{name}.{this_machine()}.{os.getpid()}.{secrets.token_hex(4)}.part")


@cache
def this_machine() -> str:
    """A name without dots for where a process number means one process: host, start of the system, and container.

    Hosts alone are not told apart by name where each is called localhost.
    """
    marks = []
    for read in (Path("/proc/sys/kernel/random/boot_id").read_text, Path("/proc/self/ns/pid").readlink):
        with suppress(OSError):  # not Linux: the host's name has to do
            marks.append(str(read()))
    return f"{socket.gethostname().replace('.', '_')[:24]}-{hashlib.sha256(''.join(marks).encode()).hexdigest()[:8]}"
