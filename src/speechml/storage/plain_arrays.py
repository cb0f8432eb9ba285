"""Reading arrays in a folder that somebody else may have made."""

from __future__ import annotations

import math
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

from speechml.storage.plain_files import check_stored, open_plain

MOST_ARRAYS = 1 << 30  # bytes of predictions: a million test items with two hundred classes
NPY = re.compile(
    rb"\{'descr': '([<>|=]?[biufUS]\d{1,9})', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,99})\),? ?\} *\n?"
)


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
