"""Audio files below a folder: links are followed, hidden files and folders are left out, and what cannot be read is counted."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from speechml.errors import UserError, echo
from speechml.storage.audio import EXTENSIONS

# Recordings that people have, as their names end; those of EXTENSIONS are read, the others noted.
RECORDINGS = (
    ".aac", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".m4a", ".mka", ".mp4", ".opus", ".ra", ".snd", ".sph",
    ".voc", ".w64", ".webm", ".wma", ".wv",
)  # fmt: skip
MOST_FOLDERS = 100_000  # more are taken for links that lead round and round


class AudioFolder(NamedTuple):
    """The audio files below a folder, by name, and sentences on recordings that are not used."""

    paths: list[Path]
    notes: list[str]


def find_audio(folder: Path) -> AudioFolder:
    """All audio files below a folder.

    Raises:
        UserError: no such folder, no audio file in it, a link to nothing, or links without an end.
    """
    if not folder.exists():
        raise UserError(f"{folder} does not exist", fix="give a folder of audio files")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file", fix="give the folder that holds the audio files")
    names = list(_files(str(folder)))
    notes = unread_notes(f"{folder.name}/", names)
    if not (found := sorted(Path(name) for name in names if name.lower().endswith(EXTENSIONS))):
        what = f"{folder} holds no audio files ({', '.join(EXTENSIONS)})"
        raise UserError(what, fix=notes[0] if notes else "")
    return AudioFolder(found, notes)


def list_recordings(given: Path) -> list[Path]:
    """A file itself, or the audio files below a folder; what of it is not used is said. Raises UserError as `find_audio`."""
    if not given.is_dir():
        return [given]
    paths, notes = find_audio(given)
    for note in notes:
        echo(f"note: {note}", file=sys.stderr)
    return paths


def _files(folder: str) -> Iterator[str]:
    """Paths of the files below a folder that are not hidden; a link to a folder that it lies in itself is not followed."""
    waiting, count = [(folder, frozenset[tuple[int, int]]())], 0
    while waiting:
        place, above = waiting.pop()
        status = Path(place).stat()
        own = (status.st_dev, status.st_ino)
        if own in above:
            continue
        if (count := count + 1) > MOST_FOLDERS:
            what = f"{folder} leads through more than {MOST_FOLDERS:,} folders"
            raise UserError(what, "links in it lead round and round", "remove those that are not needed")
        for entry in scan(Path(place)):
            if entry.is_dir():
                waiting.append((entry.path, above | {own}))
            elif entry.is_file():
                yield entry.path


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, but for what is hidden.

    Raises:
        UserError: it cannot be looked into, or a link that may be of a recording or a folder leads nowhere.
    """
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder} cannot be looked into", why=str(error.strerror)) from error
    lost = {entry.name for entry in entries if entry.is_symlink() and not Path(entry.path).exists()}
    if named := sorted(name for name in lost if Path(name).suffix.lower() in ("", *EXTENSIONS)):
        what = f"{folder / named[0]} is a link to {(folder / named[0]).readlink()}, which is not there"
        raise UserError(what, fix="bring it back or remove the link")
    return sorted((entry for entry in entries if entry.name not in lost), key=lambda entry: entry.name)


def unread_notes(where: str, names: Iterable[str]) -> list[str]:
    """A sentence on recordings of formats that are not read, where there are some."""
    endings = (Path(name).suffix.lower() for name in names)
    others = Counter(ending for ending in endings if ending in RECORDINGS and ending not in EXTENSIONS)
    if not others:
        return []
    kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(others.items()))
    few = sum(others.values()) == 1
    return [f"{kinds} file{'s' * (not few)} in {where} {'is' if few else 'are'} not used: convert to wav or flac"]
