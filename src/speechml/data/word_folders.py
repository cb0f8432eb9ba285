"""Folders of spoken words on disk: which clips there are, who speaks, and which split each belongs to."""

from __future__ import annotations

import os
import stat
import wave
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.data.clips import CLIP_S
from speechml.data.splits import speaker_mark
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.pack import PackWriter
from speechml.storage.progress import progress

BACKGROUND = "_background_noise_"
# Where the word folders lie below the folder that torchaudio or TensorFlow were given.
LAYOUTS = (
    ".", "SpeechCommands/speech_commands_v0.02", "SpeechCommands/speech_commands_v0.01", "speech_commands_v0.02",
    "speech_commands_v0.01", "mini_speech_commands",
)  # fmt: skip
CHUNK = 512  # clips that are decoded ahead


class Listing(NamedTuple):
    """Files of word folders, as columns: rows would be so many objects that Python's collector takes as long as the disk.

    names: as the data set's lists write them, yes/0a7c2a8d_nohash_0.wav; sizes: bytes; times: of the last change, ns.
    """

    names: list[str]
    sizes: list[int]
    times: list[int]


def find_words(root: Path) -> tuple[Path, Listing, Listing]:
    """The folder that holds the word folders, all clips by name, and the recordings of background noise.

    Raises:
        UserError: no such folder, or none that looks like a word's.
    """
    if not root.is_dir():
        raise UserError(
            f"{root} is no folder", fix="give one that holds a folder of clips for each word, as data.root=FOLDER"
        )
    for place in (root / layout for layout in LAYOUTS):
        if place.is_dir() and (clips := list_audio(place, word_folders(place))).names:
            return place, clips, list_audio(place, [BACKGROUND] if (place / BACKGROUND).is_dir() else [])
    raise UserError(
        f"{root} holds no word folders",
        fix="it should hold a folder for each word with its clips in it, as in yes/0a7c2a8d_nohash_0.wav",
    )


def word_folders(place: Path) -> list[str]:
    """Folders that may hold the clips of a word, by name.

    Raises:
        UserError: the folder cannot be looked into.
    """
    try:
        return sorted(e.name for e in os.scandir(place) if e.is_dir() and not e.name.startswith((".", "_")))
    except OSError as error:
        raise UserError(f"{place} cannot be looked into", why=str(error.strerror)) from error


def holds_words(root: Path) -> bool:
    """Whether word folders lie directly in a folder."""
    return root.is_dir() and bool(list_audio(root, word_folders(root)).names)


def list_audio(root: Path, folders: list[str]) -> Listing:
    """The audio files that lie directly in some folders, by name.

    Raises:
        UserError: a folder or a file in it cannot be looked at.
    """
    found = Listing([], [], [])
    for folder in folders:
        try:
            place = os.open(root / folder, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{root / folder} cannot be looked into", why=str(error.strerror)) from error
        try:
            for file in sorted(os.listdir(place)):  # noqa: PTH208 (of an open folder, so that each file is found at once)
                if file.lower().endswith(audio.EXTENSIONS) and not file.startswith("."):
                    status = os.stat(file, dir_fd=place)
                    if stat.S_ISREG(status.st_mode):
                        found.names.append(f"{folder}/{file}")
                        found.sizes.append(status.st_size)
                        found.times.append(status.st_mtime_ns)
        except OSError as error:
            where = root / folder / str(error.filename or "")
            raise UserError(
                f"{where} cannot be read", why=str(error.strerror), fix="bring it back or remove it"
            ) from error
        finally:
            os.close(place)
    return found


def decode(path: Path, rate: int, stereo: str) -> tuple[audio.Samples, str]:
    """The first CLIP_S of a clip (time,), int16 or float32, and what was done to it: `cut`, `padded`, `changed` or nothing.

    Raises:
        UserError: as `audio.load`.
    """
    length = round(CLIP_S * rate)
    try:  # most clips are 16-bit mono wav at the rate wanted: three times faster than through libsndfile
        with wave.open(str(path), "rb") as file:
            count = file.getnframes()
            plain = (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
            data = file.readframes(min(count, length)) if plain else b""
        if plain and len(data) == 2 * min(count, length) > 0:
            return np.frombuffer(data, "<i2"), _change(count, length)
    except (wave.Error, EOFError, OSError):
        pass  # a file of another kind, or a bad one: libsndfile says which
    header = audio.info(path)
    samples = audio.load(path, rate, stereo, longest_s=CLIP_S)[:length]
    changed = header.rate != rate or header.channels > 1
    return samples, "changed" if changed else _change(header.frames, length)


def _change(count: int, length: int) -> str:
    """What brings `count` samples to `length`."""
    return "cut" if count > length else "padded" if count < length else ""


def pack_words(folder: Path, root: Path, clips: list[str], background: list[str], rate: int, stereo: str) -> None:
    """Decode clips, then recordings of noise, into a pack in a folder; every clip is one row of a second."""
    writer = PackWriter(folder, ("clip",), round(CLIP_S * rate))
    done: Counter[str] = Counter()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        decoded = zip(clips, _decode_ahead(pool, root, clips, rate, stereo), strict=True)
        for name, (samples, what) in progress(decoded, len(clips), "reading clips"):
            done[what] += 1
            writer.add(name, speaker_mark(name), {"clip": samples})
    for name in background:
        writer.add(name, BACKGROUND, {"clip": audio.load(root / name, rate, stereo)})
    texts = {
        "cut": "longer than 1 s: only the first second is used",
        "changed": f"at another rate than {rate} Hz or of several channels: resampled or mixed down",
    }  # fmt: skip
    writer.close([f"of all {len(clips)} clips {done[what]} are {text}" for what, text in texts.items() if done[what]])


def _decode_ahead(
    pool: ThreadPoolExecutor, root: Path, names: list[str], rate: int, stereo: str
) -> Iterable[tuple[audio.Samples, str]]:
    """Clips decoded by several threads, in order, a chunk at a time so that memory stays small."""
    for begin in range(0, len(names), CHUNK):
        yield from pool.map(lambda name: decode(root / name, rate, stereo), names[begin : begin + CHUNK])
