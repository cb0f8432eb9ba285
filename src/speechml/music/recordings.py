"""Folders of music: which songs there are, of which genre, and the hand-made features of their blocks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from speechml.errors import UserError
from speechml.music.features import COLUMNS, SILENCE, music_features
from speechml.process import end_with, keep_memory
from speechml.storage import audio
from speechml.storage.files import build_once
from speechml.storage.pack import fingerprint
from speechml.storage.progress import progress

RECIPE = 1  # raise it when `read_rows` makes other rows
BLOCK_S = 0.5  # of DDASP exercise 12
CHUNK = 16  # blocks that are decoded at once
LOWEST_RATE = 8000  # Hz: the filters of loudness are made for audio, and half the rate must lie well above 1 kHz
EXERCISE = ("metal", "EDM", "classical")  # what _0, _1 and _2 mean in DDASP exercise 12
LABEL = re.compile(r"_(0|[1-9][0-9]*)$")  # not track_01: such numbers count the songs of a folder
SQUARE = COLUMNS.index("rms_lin2")
ARRAYS = ("features", "label", "song", "channel", "block")


class Song(NamedTuple):
    """A file of music: its path below the root with slashes, where it is, and its genre."""

    name: str
    path: Path
    genre: str


class Music(NamedTuple):
    """Rows of features, song by song, within a song channel by channel, within a channel in time.

    features: (rows, 12) float64, in the order of COLUMNS; label: (rows,), index into `genres`; song: (rows,), index into
    `songs`; channel: (rows,); block: (rows,), place in time within the song in blocks of BLOCK_S; all but the first int64.
    `notes` say which files were left out.
    """

    features: np.ndarray
    label: np.ndarray
    song: np.ndarray
    channel: np.ndarray
    block: np.ndarray
    songs: list[str]
    genres: list[str]
    notes: list[str]


class Rows(NamedTuple):
    """What one file gives: features (rows, 12), channel and block (rows,); why it gives none; what is missing of it."""

    features: np.ndarray
    channel: np.ndarray
    block: np.ndarray
    unreadable: str = ""
    partly: str = ""


NOTHING = Rows(np.zeros((0, len(COLUMNS))), np.zeros(0, np.int64), np.zeros(0, np.int64))


def find_songs(root: Path) -> tuple[list[Song], list[str]]:
    """The songs below a folder by name, and the genres in the order of their classes.

    Either all names end in the number of their genre, as in song_0.mp3, or each genre has a folder. Where every file lies in
    a folder, numbers count as genres only if all files have one and none from 0 on is missing.

    Raises:
        UserError: no such folder, no music in it, neither layout or both, or a genre without music.
    """
    paths = {path.relative_to(root).as_posix(): path for path in audio.find(root)}
    paths = {name: path for name, path in sorted(paths.items()) if not name.startswith(".") and "/." not in name}
    numbers = {name: int(found[1]) for name, path in paths.items() if (found := LABEL.search(path.stem))}
    present = sorted(set(numbers.values()))
    whole = len(numbers) == len(paths) and present == list(range(len(present)))
    if not numbers or (not whole and all("/" in name for name in paths)):
        return _by_folder(root, paths)
    if plain := [name for name in paths if name not in numbers]:
        raise UserError(
            f"{root / plain[0]} does not end in the number of its genre as {next(iter(numbers))} does; "
            "name all files like song_0.mp3, or none and give each genre a folder"
        )
    if present != list(range(len(present))):
        missing = next(i for i in range(len(present)) if i not in present)
        raise UserError(
            f"{root} has files of genre {present[-1]} and none of genre {missing}; names should end in _0, _1 and so on "
            "without a gap"
        )
    names = genre_names(np.array(present))
    return _checked(root, [Song(name, path, names[numbers[name]]) for name, path in paths.items()], names)


def genre_names(labels: np.ndarray) -> list[str]:
    """Names for numbered genres from 0 to the largest label: those of the exercise where its three are enough."""
    count = int(labels.max()) + 1
    return [str(i) for i in range(count)] if count > len(EXERCISE) else list(EXERCISE[:count])


def _by_folder(root: Path, paths: dict[str, Path]) -> tuple[list[Song], list[str]]:
    if loose := [name for name in paths if "/" not in name]:
        raise UserError(
            f"{root / loose[0]} lies in no genre's folder and does not end in the number of its genre; "
            "give each genre a folder, or name all files like song_0.mp3"
        )
    songs = [Song(name, path, name.partition("/")[0]) for name, path in paths.items()]
    return _checked(root, songs, sorted({song.genre for song in songs}))


def _checked(root: Path, songs: list[Song], genres: list[str]) -> tuple[list[Song], list[str]]:
    if len(genres) < 2:
        only = f"only the genre {genres[0]}" if genres else "no music that is not hidden"
        raise UserError(f"{root} holds {only}; at least two genres are needed to tell apart")
    return songs, genres


def extract(root: Path, cache: Path) -> Music:
    """The features of all songs below a folder, computed once and kept below `cache`.

    Raises:
        UserError: as `find_songs`, or no file can be read, or a genre has no block that is not silent.
    """
    songs, genres = find_songs(root)
    states = [song.path.stat() for song in songs]
    files = [(song.name, state.st_size, state.st_mtime_ns) for song, state in zip(songs, states, strict=True)]
    made = ("music", RECIPE, BLOCK_S, files, version("pyloudnorm"), soundfile.__libsndfile_version__)
    folder = cache / "features" / fingerprint(made)

    def build(part: Path) -> None:
        music = assemble(root, songs, genres, read_all_rows([song.path for song in songs]))
        for note in music.notes:
            print(note, file=sys.stderr)
        np.savez(part / "music.npz", **music._asdict())

    return _load(build_once(folder, _is_whole, build))


def read_all_rows(paths: list[Path]) -> list[Rows]:
    """The rows of each file, on all cores."""
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(paths))
    if workers == 1:
        with _one_thread():
            return list(progress(map(read_rows, paths), len(paths), "reading music"))
    try:
        with ProcessPoolExecutor(workers, initializer=_begin, initargs=(os.getpid(),)) as pool:
            return list(progress(pool.map(read_rows, paths), len(paths), "reading music"))
    except BrokenProcessPool as error:
        raise UserError(
            f"the decoder crashed on one of the {len(paths)} files of {os.path.commonpath(paths)}; try them in smaller folders"
        ) from error


def _begin(parent: int) -> None:
    """What a worker does first; more threads would only contend with the other workers."""
    end_with(parent)
    torch.set_num_threads(1)
    keep_memory()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_rows(path: Path) -> Rows:
    """The rows of one file: blocks of each channel by itself, without the incomplete rest and the silent ones."""
    try:
        return _read_rows(path)
    except UserError as error:
        reason = str(UserError(error.what, error.why))
        return NOTHING._replace(unreadable=reason.removeprefix(f"{path} "))


def _read_rows(path: Path) -> Rows:
    header = audio.info(path)
    if header.rate < LOWEST_RATE:
        raise UserError(f"{path} has a sample rate of {header.rate} Hz", fix=f"at least {LOWEST_RATE} Hz are needed")
    length = round(BLOCK_S * header.rate)
    found: list[Rows] = []
    decoded = 0
    for samples in _decoded(path, CHUNK * length):
        first, count = decoded // length, len(samples) // length
        decoded += len(samples)
        if not np.isfinite(samples).all():
            raise UserError(f"{path} holds NaN or infinite samples", fix="export it again or remove it")
        blocks = torch.from_numpy(samples[: count * length].T.reshape(-1, length))
        features = music_features(blocks, header.rate).numpy()
        heard = features[:, SQUARE] > SILENCE  # those few that are silent are computed for nothing
        channel, block = (a.ravel() for a in np.mgrid[: header.channels, first : first + count])
        found.append(Rows(features[heard], channel[heard], block[heard]))
    if decoded >= header.frames:
        return _joined(found, header.channels)
    had, should = decoded / header.rate, header.frames / header.rate
    if path.suffix.lower() != ".mp3" or decoded < length:
        raise UserError(f"{path} is cut short, {had:.1f} of {should:.1f} s decode", fix="copy it again")
    return _joined(found, header.channels, partly=f"{had:.1f} of {should:.1f} s")


def _decoded(path: Path, frames: int) -> Iterator[np.ndarray]:
    """The samples (time, channel) of a file, float32, `frames` at a time."""
    try:
        with soundfile.SoundFile(str(path)) as file:
            while len(samples := file.read(frames, dtype="float32", always_2d=True)):
                yield samples
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".")
        raise UserError(f"{path} cannot be decoded", reason, "copy it again or convert it to wav") from error


def _joined(found: list[Rows], channels: int, partly: str = "") -> Rows:
    """Chunks in time as one, channel by channel."""
    chosen = [(rows, rows.channel == i) for i in range(channels) for rows in found]
    return Rows(
        np.concatenate([NOTHING.features, *(rows.features[here] for rows, here in chosen)]),
        np.concatenate([NOTHING.channel, *(rows.channel[here] for rows, here in chosen)]),
        np.concatenate([NOTHING.block, *(rows.block[here] for rows, here in chosen)]),
        partly=partly,
    )


def assemble(root: Path, songs: list[Song], genres: list[str], rows: list[Rows]) -> Music:
    """The rows of all songs as one table, and notes on files that are missing in it."""
    bad = [f"{song.name} ({row.unreadable})" for song, row in zip(songs, rows, strict=True) if row.unreadable]
    partly = [f"{song.name} ({row.partly})" for song, row in zip(songs, rows, strict=True) if row.partly]
    if len(bad) == len(songs):
        raise UserError(f"{root} holds no music that can be read, the first file being {bad[0]}; copy the files again")
    counts = [len(row.block) for row in rows]
    song = np.repeat(np.arange(len(songs)), counts)
    label = np.array([genres.index(one.genre) for one in songs])[song]
    for number, genre in enumerate(genres):
        if number not in label:
            raise UserError(
                f"{root} holds nothing to hear of the genre {genre}: its files cannot be read, are silent, or are shorter "
                f"than {BLOCK_S} s; add others or remove the genre"
            )
    notes = []
    if bad:
        notes.append(f"{len(bad)} of {len(songs)} files could not be read and are left out: {', '.join(bad)}")
    if partly:
        notes.append(f"{len(partly)} of {len(songs)} files could be decoded only in part: {', '.join(partly)}")
    features, channel, block = (np.concatenate(column) for column in list(zip(*rows, strict=True))[:3])
    return Music(features, label, song, channel, block, [one.name for one in songs], genres, notes)


def _load(folder: Path) -> Music:
    with np.load(folder / "music.npz", allow_pickle=False) as file:
        texts = {name: file[name].tolist() for name in ("songs", "genres", "notes")}
        return Music(**{name: file[name] for name in ARRAYS}, **texts)


def _is_whole(folder: Path) -> bool:
    try:
        music = _load(folder)
    except Exception:  # of zipfile, zlib or numpy: what a damaged file raises is not told in advance
        return False
    rows = len(music.features)
    return music.features.shape == (rows, len(COLUMNS)) and all(
        getattr(music, name).shape[0] == rows for name in ARRAYS
    )
