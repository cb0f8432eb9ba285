"""Reading in a folder that somebody else may have made: plain files that lie in it, of no more than a bounded size."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    import numpy as np

Node = TypeVar("Node")
MOST = 16 << 20  # bytes of a table, a card, a list
MOST_HASHED = 64 << 30  # bytes of which there is a checksum
MOST_ARRAYS = 1 << 30  # bytes of predictions: a million test items with two hundred classes
DEEPEST = 100  # levels of lists and mappings within one another
NPY = re.compile(
    rb"\{'descr': '([<>|=]?[biufUS]\d{1,9})', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,99})\),? ?\} *\n?"
)
DIGITS = 20  # of a whole number: 2^64 has as many
KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def open_plain(folder: Path, name: str, most: int = MOST) -> io.BufferedReader:
    """Open a file of a folder for reading; the folder itself may be a link, nothing below it.

    Args:
        name: relative to the folder.
        most: bytes that it may have.

    Raises:
        OSError: there is none, or what is there is a link, a pipe, a device, or larger. Nothing is waited for.
    """
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *above, last = name.split("/")
        for part in above:
            _check_kind(part, place, stat.S_IFDIR)
            place, outer = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place), place
            os.close(outer)
        _check_kind(last, place, stat.S_IFREG)
        file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    finally:
        os.close(place)
    if (size := os.fstat(file).st_size) > most:
        os.close(file)
        _refuse(f"it has {size:,} bytes, more than the {most:,} that are read")
    return os.fdopen(file, "rb")


def _check_kind(name: str, place: int, wanted: int) -> None:
    """Raises OSError where what has a name in an open folder is of another kind; it is not opened for that."""
    kind = stat.S_IFMT(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)
    if kind != wanted or name == "..":
        _refuse(f"it is {KINDS.get(kind, 'no plain file')}, which is not followed")


def _refuse(why: str) -> NoReturn:
    raise OSError(errno.EINVAL, why)


def most_checkpoint() -> int:
    """Bytes that a checkpoint may have: half of this machine's memory, since reading it takes twice its size."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def is_plain(folder: Path, name: str) -> bool:
    """Whether a file lies in a folder that `open_plain` opens, of whatever size."""
    path = folder
    try:
        for part in name.split("/"):
            mode = (path := path / part).lstat().st_mode
            if part == ".." or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return False
        return stat.S_ISREG(mode)
    except OSError:
        return False


def plain_files(folder: Path, *patterns: str) -> list[str]:
    """The plain files of a folder that patterns name, relative to it and in order."""
    names = (path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern))
    return sorted(name for name in names if is_plain(folder, name))


def check_plain(folder: Path) -> None:
    """Raises OSError, which names it, where a link, a pipe or a device lies below a folder that is to be written into."""
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            try:
                kind = stat.S_IFMT(path.lstat().st_mode)
            except FileNotFoundError:  # a run in training replaces its files
                continue
            if kind not in (stat.S_IFREG, stat.S_IFDIR):
                _refuse(f"{path} is {KINDS.get(kind, 'no plain file')}")


def read_plain(folder: Path, name: str, most: int = MOST) -> bytes:
    """The content of a file that `open_plain` opens."""
    with open_plain(folder, name, most) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(
            min(size, most) + 1
        )  # it may grow meanwhile; room for all that is asked for is taken at once
    return content if len(content) <= most else _refuse(f"it has more than the {most:,} bytes that are read")


def read_json(folder: Path, name: str) -> object:
    """What a JSON file of a folder holds, numbers that JSON lacks as null.

    Raises:
        OSError, ValueError, RecursionError: as `open_plain`, or no JSON, or with numbers or levels beyond all use.
    """
    text = read_plain(folder, name).decode()
    content: object = json.loads(text, parse_constant=lambda _: None, parse_int=_short_int)
    check_tree(content, inner_items)
    return content


def _short_int(text: str) -> float:
    return int(text) if len(text) <= DIGITS else math.inf  # which no count or score can be


def inner_items(node: object) -> list[object]:
    """The lists and mappings in one."""
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [item for item in items if isinstance(item, (dict, list))]


def check_tree(root: Node, inner: Callable[[Node], Iterable[Node]]) -> None:
    """Raises ValueError where nodes lie too deep in one another, or one stands in several places, as aliases have it."""
    level, seen = [root], set[int]()
    for _ in range(DEEPEST):
        count = len(seen) + len(level)
        seen.update(map(id, level))
        if len(seen) < count:
            raise ValueError("a part of it stands in several places")
        level = [node for outer in level for node in inner(outer)]
        if not level:
            return
    raise ValueError(f"it has more than {DEEPEST} levels")


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Raises ValueError where the parts of a ZIP archive of so many bytes would grow when they are read."""
    parts = archive.infolist()
    stored = all(part.compress_type == zipfile.ZIP_STORED and part.file_size == part.compress_size for part in parts)
    if not stored or sum(part.file_size for part in parts) > size:
        raise ValueError("its parts are compressed or larger than the file")


def read_arrays(folder: Path, name: str, most: int = MOST_ARRAYS) -> dict[str, np.ndarray]:
    """The arrays of an .npz file of a folder, of which none takes more memory than the file has bytes.

    Raises:
        OSError, ValueError, TypeError, and what zipfile raises: as `open_plain`, or damaged, or with objects or compressed parts.
    """
    with open_plain(folder, name, most) as file, zipfile.ZipFile(file) as archive:
        check_stored(archive, os.fstat(file.fileno()).st_size)
        columns: dict[str, np.ndarray] = {}
        for part in archive.infolist():
            columns[part.filename.removesuffix(".npy")] = _read_array(archive.read(part), part.filename)
    return columns


def _read_array(raw: bytes, name: str) -> np.ndarray:
    """An .npy file, whose header numpy would evaluate as Python, and make an array of before it looks for its content."""
    import numpy as np

    begin = 10 if raw[6:7] == b"\x01" else 12
    end = begin + int.from_bytes(raw[8:begin], "little")
    head = NPY.fullmatch(raw[begin:end]) if raw[:6] == b"\x93NUMPY" else None
    if head is None:
        raise ValueError(f"{name} is no array of numbers or words")
    dtype, shape = np.dtype(head[1].decode()), tuple(map(int, head[3].replace(b",", b" ").split()))
    if not dtype.itemsize or math.prod(shape) * dtype.itemsize != len(raw) - end:
        raise ValueError(f"{name} is not as long as it says")
    array = np.frombuffer(bytearray(raw), dtype, offset=end)
    if dtype.kind == "U" and array.view(dtype.byteorder + "u4").max(initial=0) > sys.maxunicode:
        raise ValueError(f"{name} has words of what is no letter")
    return array.reshape(shape, order="F" if head[2] == b"True" else "C")
