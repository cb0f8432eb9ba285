"""Audio files below a folder: links are followed, hidden files and folders are left out, and what cannot be read is counted."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from speechml.errors import UserError, echo
from speechml.storage.audio import EXTENSIONS, info

# Recordings that people have and that are not read, as their names end.
UNREAD = (
    ".3gp", ".aac", ".amr", ".ape", ".m4a", ".mka", ".mp2", ".mp4", ".ra", ".sph", ".voc", ".webm", ".wma", ".wv",
)  # fmt: skip
MOST_FOLDERS = 100_000  # more are taken for links that lead round and round


class AudioFolder(NamedTuple):
    """The audio files below a folder, by name, and sentences on recordings that are not used."""

    paths: list[Path]
    notes: list[str]


def find_audio(folder: Path, once: bool = False) -> AudioFolder:
    """All audio files below a folder.

    Args:
        folder: through the links in which files are found as well.
        once: leave out what links lead to a second time, and say so.

    Raises:
        UserError: no such folder, no audio file in it, a link to nothing, or links without an end.
    """
    if not folder.exists():
        raise UserError(f"{folder} does not exist", fix="give a folder of audio files")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file", fix="give the folder that holds the audio files")
    places = {Path(name): place for name, place in _files(str(folder))}
    notes = unread_notes(f"{folder.name}/", places)
    if not (found := sorted(path for path in places if path.name.lower().endswith(EXTENSIONS))):
        what = f"{folder} holds no audio files ({', '.join(EXTENSIONS)})"
        raise UserError(what, fix=notes[0] if notes else "")
    if once and len({places[path] for path in found}) < len(found):
        kept = _distinct(folder, {path: places[path] for path in found})
        repeated = [path.relative_to(folder) for path in found if path not in kept]
        what = f"{len(repeated)} left out, as {repeated[0]}"
        notes.append(f"links in {folder.name}/ lead to files that are in it anyway: {what}")
        found = sorted(kept)
    return AudioFolder(found, notes)


def _distinct(folder: Path, places: dict[Path, str]) -> set[Path]:
    """One path for each place that a file really lies at: that without a link, else the first."""
    root = os.path.realpath(folder)
    paths = sorted(places, key=lambda path: (places[path] != f"{root}/{path.relative_to(folder)}", path))
    return set({places[path]: path for path in reversed(paths)}.values())


def list_recordings(given: Path) -> list[Path]:
    """A file itself, or the audio files below a folder; what of it is not used is said. Raises UserError as `find_audio`."""
    if not given.is_dir():
        return [given]
    paths, notes = find_audio(given)
    for note in notes:
        echo(f"note: {note}", file=sys.stderr)
    return paths


def _files(folder: str) -> Iterator[tuple[str, str]]:
    """The files below a folder that are not hidden, by their paths, and where each really lies.

    A link to a folder that it lies in itself is not followed.
    """
    waiting, count = [(folder, os.path.realpath(folder), frozenset[str]())], 0
    while waiting:
        place, real, above = waiting.pop()
        if real in above:
            continue
        if (count := count + 1) > MOST_FOLDERS:
            what = f"{folder} leads through more than {MOST_FOLDERS:,} folders"
            raise UserError(what, "links in it lead round and round", "remove those that are not needed")
        for entry in scan(Path(place)):
            own = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{entry.name}"
            if entry.is_dir():
                waiting.append((entry.path, own, above | {real}))
            elif entry.is_file():
                yield entry.path, own


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


def unread_notes(where: str, names: Iterable[str | Path]) -> list[str]:
    """A sentence on recordings of formats that are not read, where there are some."""
    endings = (Path(name).suffix.lower() for name in names)
    others = Counter(ending for ending in endings if ending in UNREAD)
    if not others:
        return []
    kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(others.items()))
    few = sum(others.values()) == 1
    return [f"{kinds} file{'s' * (not few)} in {where} {'is' if few else 'are'} not used: convert to wav or flac"]


def resampling_notes(paths: Iterable[Path], rate: int) -> list[str]:
    """A sentence on which sample rates were changed to `rate` (Hz), where some were. Raises UserError as `info`."""
    others = Counter(own for path in paths if (own := info(path).rate) != rate)
    if not others:
        return []
    what = ", ".join(f"{count} file{'s' * (count > 1)} at {own} Hz" for own, count in sorted(others.items()))
    return [f"{what} resampled to {rate} Hz (data.sample_rate sets it)"]
