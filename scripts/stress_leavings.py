"""What a command whose system call has failed may not leave: a traceback, half a file under its final name, a leftover."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np


def wrong_end(code: int | None, said: str) -> Iterator[str]:
    """What is wrong with how a command ended: it must succeed, or refuse in a sentence."""
    if code is None:
        yield "it hung"
    if "Traceback" in said or "Logging error" in said or "Exception ignored" in said:
        yield f"traceback: {' '.join(said.split())[-300:]}"
    if code not in (0, None) and (code != 2 or not re.search(r"^error: \S", said, re.MULTILINE)):
        yield f"exit code {code}: {' '.join(said.split())[-300:]}"


def half_files(place: Path) -> Iterator[str]:
    """Files under their final names that cannot be read; those that only grow are not among them."""
    for path in (path for path in place.rglob("*") if path.is_file() and not path.name.startswith(".")):
        if any(part.endswith(".part") for part in path.parts):
            continue
        try:
            READERS.get(path.suffix, lambda _: None)(path)
        except Exception as error:  # whatever a reader makes of half a file
            yield f"{path.relative_to(place)} is half a file ({type(error).__name__}: {error})"


def _read_npz(path: Path) -> None:
    with np.load(path, allow_pickle=False) as file:
        assert [file[name] for name in file.files]


def _read_wav(path: Path) -> None:
    import soundfile

    assert len(soundfile.read(path)[0]) == soundfile.info(path).frames > 0


def _read_checkpoint(path: Path) -> None:
    from speechml.engine.checkpoint import read_checkpoint

    read_checkpoint(path)


def _ends(*ends: bytes) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        assert path.read_bytes().rstrip(b" ").endswith(ends), path.read_bytes()[-40:]

    return read


READERS: Mapping[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text()), ".ckpt": _read_checkpoint, ".npz": _read_npz, ".wav": _read_wav,
    ".png": _ends(b"IEND\xaeB`\x82"), ".html": _ends(b"</html>", b"</html>\n"), ".csv": _ends(b"\n"), ".yaml": _ends(b"\n"),
}  # fmt: skip


def left_over(place: Path) -> Iterator[str]:
    """Files of writing that was not finished, and temporary files."""
    paths = [path for part in ("work", "cache") for path in place.glob(f"{part}/**/*") if path.name.endswith(".part")]
    paths += [path for path in (place / "tmp").iterdir() if not path.name.startswith("torchinductor_")]
    for path in paths:
        if path.is_file() and path.read_bytes() == b"blat":  # by which Python itself tries the folder
            continue
        yield f"{path.relative_to(place)} was left behind"
