"""Folders that are built once, by one process, and what is left of those that were killed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from speechml.errors import machine_failure
from speechml.storage.files import builds, lock_file, make_folder, new_part, sync, this_machine

PART = re.compile(r"\..+\.(?P<machine>[^.]+)\.(?P<process>\d+)\.[0-9a-f]{8}\.part")  # a folder that is being built
CLAIM, CLAIM_S = ".replaced", 60.0  # in a torn folder: somebody takes it away, which takes no second
ABANDONED_S = 24 * 3600.0  # no build takes longer without writing


def build_once(folder: Path, is_whole: Callable[[Path], bool], build: Callable[[Path], None]) -> Path:
    """`folder`, built by `build(temporary folder)` unless `is_whole(folder)` says that it stands already.

    One process builds while the others wait. Where locks do not reach the other machines that share the file system,
    each of these builds for itself, and the first to be done is the one that all use. A folder that is torn or stale is
    built anew; a build that fails leaves nothing, and what one that was killed has left is removed by the next.

    Raises:
        UserError: the folder's place cannot be written to, or is full.
    """
    builds.setdefault(folder, False)
    if is_whole(folder):
        return folder
    make_folder(folder.parent)
    with lock_file(folder.with_name(f".{folder.name}.lock"), must=False):
        if not is_whole(folder):
            part = new_part(folder)
            try:
                part.mkdir()
                remove_leftovers(part.parent, part)
                build(part)
                for path in (*filter(Path.is_file, part.rglob("*")), part):
                    sync(path)  # or a power cut might leave zeros in it
                builds[folder] = _put_in_place(part, folder, is_whole)
            except OSError as error:
                if (failure := machine_failure(error, folder.parent)) is None:
                    raise
                raise failure from error
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder


def remove_leftovers(folder: Path, mine: Path | None = None, name: str = "*") -> None:
    """Remove what processes that were killed have left in a folder: files and folders with names as `new_part` gives.

    Those of this machine whose process is gone, whatever they wrote; of other machines those that are a day old.

    Args:
        folder: where they are.
        mine: one that has just been made, and stays.
        name: pattern of what they were to become.
    """
    now = mine.stat().st_mtime if mine else time.time()  # where we can, by the clock that dates the others
    for part in folder.glob(f".{name}.part"):
        of = PART.fullmatch(part.name)
        if part == mine or of is None or part.is_symlink():
            continue
        is_dead = of["machine"] == this_machine() and not is_running(int(of["process"]))
        if is_dead or now - _last_change(part) > ABANDONED_S:
            with suppress(OSError):  # the next one tries again
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def is_running(process: int) -> bool:
    """Whether a process of this machine is there and not only waited for by its parent."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):  # not Linux, or gone within these lines: the next builder sees it
        return True


def _last_change(folder: Path) -> float:
    """When a folder or a file in it was last written to; `inf` where it goes away meanwhile."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return float("inf")


def _put_in_place(part: Path, folder: Path, is_whole: Callable[[Path], bool]) -> bool:
    """Make `part` the `folder`, unless a builder that no lock kept out was first; whether it was done."""
    while not is_whole(folder):
        try:
            part.rename(folder)
            return True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            part.touch()  # dated by the clock that dates the claims of other machines, too
            _remove_torn(folder, is_whole, part.stat().st_mtime)
        except (FileExistsError, FileNotFoundError):  # somebody takes it away, or has done so
            time.sleep(0.01)
    return False


def _remove_torn(folder: Path, is_whole: Callable[[Path], bool], now: float) -> None:
    """Take a torn folder away, if it still is one; who has made the file of its claim in it is the only one to do so.

    So the name cannot become a whole folder's between the look and the removal. Raises FileExistsError where another one
    has the claim; that of one killed within these lines is void when it is CLAIM_S older than `now`, in s.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(FileNotFoundError):
            if now - os.stat(CLAIM, dir_fd=opened).st_mtime > CLAIM_S:
                os.unlink(CLAIM, dir_fd=opened)
        os.close(os.open(CLAIM, os.O_CREAT | os.O_EXCL, dir_fd=opened))
        if os.path.samestat(os.fstat(opened), folder.stat()) and not is_whole(folder):
            folder.rename(aside := new_part(folder))
            for _ in range(100):  # who has it still open may make a claim in it meanwhile, once
                shutil.rmtree(aside, ignore_errors=True)
        else:
            os.unlink(CLAIM, dir_fd=opened)
    finally:
        os.close(opened)
