"""Folders of spoken words on disk: which clips there are, and which split each belongs to by the data set's own rules."""

from __future__ import annotations

import hashlib
import os
import stat
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.data.clips import CLIP_S
from speechml.data.name_patterns import read_words_and_speakers
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.audio_folders import find_audio, scan, unread_notes
from speechml.storage.layout import STRAY
from speechml.storage.pack import Recording

BACKGROUND = "_background_noise_"
# Where the word folders lie below the folder that torchaudio or TensorFlow were given.
LAYOUTS = (
    ".", "SpeechCommands/speech_commands_v0.02", "SpeechCommands/speech_commands_v0.01", "speech_commands_v0.02",
    "speech_commands_v0.01", "mini_speech_commands",
)  # fmt: skip
CUT = "longer than 1 s: only the first second is used"
CHANGED = "at another rate than {} Hz or of several channels: resampled or mixed down"
CHUNK = 512  # clips that are decoded ahead


class Listing(NamedTuple):
    """Files of word folders, as columns: rows would be so many objects that Python's collector takes as long as the disk.

    names: as the data set's lists write them, yes/0a7c2a8d_nohash_0.wav; sizes: bytes; times: of the last change, ns.
    """

    names: list[str]
    sizes: list[int]
    times: list[int]


def find_words(root: Path) -> tuple[Path, Listing, Listing, list[str]]:
    """The folder that holds the word folders, all clips by name, the recordings of background noise, and what is not used.

    Clips may lie side by side in it as well, where `name_patterns` knows the words by their names.

    Raises:
        UserError: no such folder, or none that looks like a word's.
    """
    if not root.is_dir():
        fix = "give one that holds a folder of clips for each word, as data.root=FOLDER"
        raise UserError(f"{root} is no folder", fix=fix)
    for place in (root / layout for layout in LAYOUTS):
        if place.is_dir() and (found := list_audio(place, word_folders(place)))[0].names:
            noises, notes = list_audio(place, [BACKGROUND] if (place / BACKGROUND).is_dir() else [])
            return place, found[0], noises, [*found[1], *notes]
    if any(entry.name.lower().endswith(audio.EXTENSIONS) for entry in scan(root)):
        clips, noises, notes = find_clips(root)
        if read_words_and_speakers(clips.names):
            return root, clips, noises, notes
    fix = (
        "it should hold a folder for each word with its clips in it, as in yes/0a7c2a8d_nohash_0.wav, or files that are all "
        "called word_speaker_number, as 7_george_12.wav; or set data.word"
    )
    raise UserError(f"{root} holds no word folders", fix=fix)


def find_clips(root: Path) -> tuple[Listing, Listing, list[str]]:
    """All audio files below a folder, by their paths, the recordings of background noise apart; and what is not used.

    Raises:
        UserError: as `find_audio`.
    """
    clips, noises = Listing([], [], []), Listing([], [], [])
    paths, notes = find_audio(root)
    for path in paths:
        name, status = path.relative_to(root).as_posix(), path.stat()
        listing = noises if name.startswith(f"{BACKGROUND}/") else clips
        listing.names.append(name)
        listing.sizes.append(status.st_size)
        listing.times.append(status.st_mtime_ns)
    return clips, noises, notes


def word_folders(place: Path) -> list[str]:
    """Folders that may hold the clips of a word, by name."""
    return [entry.name for entry in scan(place) if entry.is_dir() and not entry.name.startswith("_")]


def list_audio(root: Path, folders: list[str]) -> tuple[Listing, list[str]]:
    """The audio files that lie directly in some folders, by name, and sentences on what else lies there.

    Raises:
        UserError: a folder or a file in it cannot be looked at.
    """
    listing, others, below = Listing([], [], []), list[str](), list[str]()
    for entry in (entry for folder in folders for entry in scan(root / folder)):
        name = f"{Path(entry.path).parent.name}/{entry.name}"
        if not entry.name.lower().endswith(audio.EXTENSIONS):
            (below if entry.is_dir() else others).append(name)
            continue
        try:
            status = entry.stat()
        except OSError as error:
            what = f"{entry.path} cannot be read"
            raise UserError(what, why=str(error.strerror), fix="bring it back or remove it") from error
        if stat.S_ISREG(status.st_mode):
            listing.names.append(name)
            listing.sizes.append(status.st_size)
            listing.times.append(status.st_mtime_ns)
    notes = unread_notes("the folders of words", others)
    if below:
        notes.append(f"folders within the folder of a word are not looked into ({len(below)}, as {below[0]})")
    return listing, notes


def decode(path: Path, rate: int, stereo: str) -> tuple[audio.Samples, str]:
    """The first CLIP_S of a clip (time,), int16 or float32, and a remark on what was done to it.

    Raises:
        UserError: as `audio.load`.
    """
    length = round(CLIP_S * rate)
    try:  # most clips are 16-bit mono wav at the rate wanted: three times faster than through libsndfile
        with path.open("rb") as opened, wave.open(opened, "rb") as file:
            count = file.getnframes()
            if not 44 <= os.fstat(opened.fileno()).st_size - 2 * count <= 44 + STRAY:
                raise EOFError  # its header, of 44 bytes at least, says too much or too little
            plain = (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
            data = file.readframes(min(count, length)) if plain else b""
        if plain and len(data) == 2 * min(count, length) > 0:
            return np.frombuffer(data, "<i2"), CUT * (count > length)
    except (wave.Error, EOFError, OSError, RuntimeError):
        pass  # a file of another kind, or a bad one: libsndfile says which
    header = audio.info(path)
    samples = audio.load(path, rate, stereo, longest_s=CLIP_S)[:length]
    changed = header.rate != rate or header.channels > 1
    return samples, CHANGED.format(rate) if changed else CUT * (header.frames > length)


def read_words(root: Path, clips: list[str], background: list[str], rate: int, stereo: str) -> Iterator[Recording]:
    """Decode clips, by several threads, then recordings of noise; every clip is one row of a second."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for begin in range(0, len(clips), CHUNK):  # a chunk at a time so that memory stays small
            names = clips[begin : begin + CHUNK]
            decoded = pool.map(lambda name: decode(root / name, rate, stereo), names)
            for name, (samples, remark) in zip(names, decoded, strict=True):
                yield Recording(name, {"clip": samples}, remark=remark)
    for name in background:
        yield Recording(name, {"clip": audio.load(root / name, rate, stereo)})


def word_of(name: str) -> str:
    """The word folder of a name."""
    return name.partition("/")[0]


def split_by_hash(name: str) -> str:
    """The split that Speech Commands' own rule gives a clip: by a hash of its speaker's mark, 10 % test, 10 % validation.

    A speaker's mark alone is such a name as well.

    The rule is `which_set` in the README of the data set (Warden 2018): SHA-1 modulo 2^27 as a percentage. Of names that
    carry no speaker, all but folder and extension is hashed.
    """
    file = name.rpartition("/")[2]
    mark = file.partition("_nohash_")[0] if "_nohash_" in file else file.rpartition(".")[0]
    largest = 2**27 - 1
    percentage = int(hashlib.sha1(os.fsencode(mark)).hexdigest(), 16) % (largest + 1) * (100.0 / largest)
    return "val" if percentage < 10 else "test" if percentage < 20 else "train"
