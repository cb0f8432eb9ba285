"""Folders of music: which songs there are, of which genre, and the hand-made features of their blocks."""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from speechml.children import end_with
from speechml.errors import UserError, echo
from speechml.music.features import COLUMNS, SILENCE, music_features
from speechml.process import keep_memory
from speechml.storage import audio
from speechml.storage.audio_folders import find_audio
from speechml.storage.building import build_once
from speechml.storage.pack import fingerprint

RECIPE = 4  # raise it when `read_rows` makes other rows
BLOCK_S = 0.5  # of DDASP exercise 12
CHUNK = 16  # blocks that are decoded at once
LOWEST_RATE = 8000  # Hz: the filters of loudness are made for audio, and half the rate must lie well above 1 kHz
EXERCISE = ("metal", "EDM", "classical")  # what _0, _1 and _2 mean in DDASP exercise 12
LABEL = re.compile(r"_(0|[1-9][0-9]*)$")  # not track_01: such numbers count the songs of a folder
SQUARE = COLUMNS.index("rms_lin2")


class Music(NamedTuple):
    """Rows of features, song by song, within a song channel by channel, within a channel in time.

    features: (rows, 12) float64, in the order of COLUMNS; label: (rows,), index into `genres`; song: (rows,), index into
    `songs`; channel: (rows,); block: (rows,), place in time within the song in blocks of BLOCK_S; all but the first int64.
    `notes` say which files were left out. Where songs are not known, `songs` is empty, and rows are counted by `block`.
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
    """What one file gives: features (rows, 12), channel and block (rows,); and why that is nothing, or not all."""

    features: np.ndarray
    channel: np.ndarray
    block: np.ndarray
    fault: str = ""


def find_songs(root: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """The genre of each song below a folder by its path in it, the genres in the order of their classes, and what is not read.

    Either all names end in the number of their genre, as in song_0.mp3, or each genre has a folder. Where every file lies in
    a folder, numbers count as genres only if all files have one and none from 0 on is missing.

    Raises:
        UserError: no such folder, no music in it, neither layout or both, or a genre without music.
    """
    found, notes = find_audio(root)
    paths = {path.relative_to(root).as_posix(): path for path in found}
    numbers = {name: int(match[1]) for name, path in sorted(paths.items()) if (match := LABEL.search(path.stem))}
    present = set(numbers.values())
    gap = min(set(range(len(present) + 1)) - present)  # the first number that none has
    if len(numbers) == len(paths) and gap == len(present):
        genres = genre_names(len(present))
        songs = {name: genres[number] for name, number in numbers.items()}
    elif all("/" in name for name in paths):
        songs = {name: name.partition("/")[0] for name in sorted(paths)}
        genres = sorted(set(songs.values()))
    elif others := sorted(paths.keys() - numbers.keys(), key=lambda name: ("/" in name, name)):
        raise UserError(
            f"{root / others[0]} does not say its genre", "its name does not end in a number as song_0 does, or not all do",
            "name all files like song_0.mp3, or give each genre a folder",
        )  # fmt: skip
    else:
        raise UserError(
            f"{root} has files of genre {max(present)} and none of genre {gap}", fix="name them _0, _1 and so on"
        )
    if len(genres) < 2:
        raise UserError(f"{root} holds only the genre {genres[0]}", fix="give two at least, to tell them apart")
    return songs, genres, notes


def genre_names(count: int) -> list[str]:
    """Names for so many numbered genres: those of the exercise where its three are enough."""
    return [str(i) for i in range(count)] if count > len(EXERCISE) else list(EXERCISE[:count])


def extract(root: Path, cache: Path) -> Music:
    """The features of all songs below a folder, computed once and kept below `cache`.

    Raises:
        UserError: as `find_songs`, or no file can be read.
    """
    songs, genres, notes = find_songs(root)
    states = {name: (root / name).stat() for name in songs}
    files = [(name, state.st_size, state.st_mtime_ns) for name, state in states.items()]
    recipe = ("music", RECIPE, BLOCK_S, files, version("pyloudnorm"), soundfile.__libsndfile_version__)

    def build(part: Path) -> None:
        music = assemble(songs, genres, read_all_rows([root / name for name in songs]))
        if not len(music.label):
            raise UserError(f"{root} holds no music that can be heard", "; ".join(music.notes), "copy the files again")
        for note in music.notes:
            echo(note, file=sys.stderr)
        np.savez(part / "music.npz", **music._asdict())

    music = _load(build_once(cache / "features" / fingerprint(recipe), _is_whole, build))
    return music._replace(notes=[*music.notes, *notes])


def _load(folder: Path) -> Music:
    with np.load(folder / "music.npz", allow_pickle=False) as file:
        columns = {name: file[name] for name in Music._fields}
    return Music(**columns | {name: columns[name].tolist() for name in ("songs", "genres", "notes")})


def _is_whole(folder: Path) -> bool:
    try:
        return bool(_load(folder))
    except Exception:  # of zipfile, zlib or numpy: what a damaged file raises is not told in advance
        return False


def read_all_rows(paths: list[Path]) -> list[Rows]:
    """The rows of each file, on all cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with ProcessPoolExecutor(min(cores, len(paths)), initializer=_begin, initargs=(os.getpid(),)) as pool:
            return list(tqdm(pool.map(_try_rows, paths), "reading music", len(paths), leave=False, disable=None))
    except BrokenProcessPool as error:
        place = os.path.commonpath(paths)
        raise UserError(f"the decoder crashed on a file in {place}", fix="try its files in smaller folders") from error


def _begin(parent: int) -> None:
    """What a worker does first; more threads would only contend with the other workers."""
    end_with(parent)
    torch.set_num_threads(1)
    keep_memory()


def _try_rows(path: Path) -> Rows:
    """The rows of a file, none where it cannot be read."""
    try:
        return read_rows(path)
    except UserError as error:
        reason = str(UserError(error.what, error.why)).removeprefix(f"{path} ")
        return Rows(np.zeros((0, len(COLUMNS))), np.zeros(0, np.int64), np.zeros(0, np.int64), reason)


def read_rows(path: Path) -> Rows:
    """The rows of one file: blocks of each channel by itself, without the incomplete rest and the silent ones.

    Raises:
        UserError: it cannot be read; of an mp3 that is cut short what decodes is enough.
    """
    whole = path.suffix.lower() != ".mp3"
    header = audio.info(path, whole)
    if header.rate < LOWEST_RATE:
        raise UserError(f"{path} has a sample rate of {header.rate} Hz", fix=f"at least {LOWEST_RATE} Hz are needed")
    length = int(BLOCK_S * header.rate)
    chunks, fault = [np.zeros((header.channels, 0, len(COLUMNS)))], ""
    try:
        for samples, _ in audio.read_blocks(path, max(1, header.block(CHUNK * BLOCK_S) // length) * length, whole):
            blocks = samples[: len(samples) // length * length].T.reshape(-1, length)  # channel by channel
            features = music_features(torch.from_numpy(blocks), header.rate).numpy()
            chunks.append(features.reshape(header.channels, -1, len(COLUMNS)))
    except audio.CutShort as error:
        if whole or not sum(chunk.size for chunk in chunks):
            raise
        fault = error.why
    rows = np.concatenate(chunks, axis=1)
    channel, block = np.nonzero(rows[..., SQUARE] > SILENCE)
    return Rows(rows[channel, block], channel, block, fault)


def assemble(songs: dict[str, str], genres: list[str], rows: list[Rows]) -> Music:
    """The rows of all songs as one table, and notes on files that are missing in it."""
    song = np.repeat(np.arange(len(songs)), [len(of_song.block) for of_song in rows])
    label = np.array([genres.index(genre) for genre in songs.values()])[song]
    faults = {f"{name} ({of.fault})": len(of.block) for name, of in zip(songs, rows, strict=True) if of.fault}
    notes = []
    if bad := [fault for fault, count in faults.items() if not count]:
        notes.append(f"{len(bad)} of {len(songs)} files could not be read and are left out: {', '.join(bad)}")
    if partly := [fault for fault, count in faults.items() if count]:
        notes.append(f"{len(partly)} of {len(songs)} files could be decoded only in part: {', '.join(partly)}")
    features, channel, block = (np.concatenate([getattr(of, name) for of in rows]) for name in Rows._fields[:3])
    return Music(features, label, song, channel, block, list(songs), genres, notes)
