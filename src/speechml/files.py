"""Files that are whole or absent, and folders that are built once, by one process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechml.errors import BadInput


def write_bytes(path: Path, content: bytes | memoryview, before: Path | None = None, durable: bool = True) -> None:
    """Replace `path` by `content`: a reader sees the old content or the new, never a part, whatever happens.

    Args:
        path: its folder is there.
        content: whole.
        before: where the old content is kept, in the same folder.
        durable: wait until it is on the disk, so that it outlives a power cut, too.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if before is not None and path.exists():
            path.replace(before)
        part.replace(path)
        if durable:
            to_disk(path.parent)
    finally:
        part.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, as `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by `content` as JSON, numbers that JSON lacks as null."""
    write_text(path, json.dumps(_finite(content), indent=1, sort_keys=False, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        BadInput: it cannot be made or written to.
    """
    for tries in range(20, 0, -1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):  # has no name that another process could take away
                return
        except OSError as error:
            if tries > 1 and error.errno in (
                errno.ENOENT,
                errno.EEXIST,
            ):  # another process has taken the empty folder away
                continue
            raise BadInput(f"{folder} cannot be written to ({error.strerror}); give another folder") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, waiting for whoever has it; a killed holder lets go by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def built_once(folder: Path, is_whole: Callable[[Path], bool], build: Callable[[Path], None]) -> Path:
    """`folder`, built by `build(temporary folder)` unless `is_whole(folder)` says that it stands already.

    One process builds while the others wait; a folder that is torn or stale is built anew; a build that fails leaves
    nothing.
    """
    if is_whole(folder):
        return folder
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not is_whole(folder):
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                build(part)
                shutil.rmtree(folder, ignore_errors=True)
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder
