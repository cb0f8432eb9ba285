"""Folders of spoken words on disk: which clips there are, who speaks, and which part each belongs to."""

from __future__ import annotations

import hashlib
import os
import wave
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.data import audio
from speechml.data.pack import PackWriter
from speechml.data.progress import progress
from speechml.errors import BadInput

BACKGROUND = "_background_noise_"
LISTS = {"test": "testing_list.txt", "val": "validation_list.txt"}
# Where the word folders lie below the folder that torchaudio or TensorFlow were given.
LAYOUTS = (
    ".", "SpeechCommands/speech_commands_v0.02", "SpeechCommands/speech_commands_v0.01", "speech_commands_v0.02",
    "speech_commands_v0.01", "mini_speech_commands",
)  # fmt: skip
CHUNK = 512  # clips that are decoded ahead


class Clip(NamedTuple):
    """A file of a word folder."""

    word: str
    file: str
    size: int  # bytes
    time: int  # of the last change, ns

    @property
    def name(self) -> str:
        """As the data set's lists write it."""
        return f"{self.word}/{self.file}"


def find(root: Path) -> tuple[Path, list[Clip], list[Clip]]:
    """The folder that holds the word folders, all clips by name, and the recordings of background noise.

    Raises:
        BadInput: no such folder, or none that looks like a word's.
    """
    if not root.is_dir():
        raise BadInput(f"{root} is no folder; give one that holds a folder of clips for each word, as data.root=FOLDER")
    for layout in LAYOUTS:
        place = root / layout
        if not place.is_dir():
            continue
        folders = sorted(
            e.name
            for e in os.scandir(place)
            if e.is_dir() and not e.name.startswith((".", "_")) and e.name != "SpeechCommands"
        )
        clips = [clip for folder in folders for clip in listed(place, folder)]
        if clips:
            return place, clips, listed(place, BACKGROUND)
    raise BadInput(
        f"{root} holds no word folders; it should hold a folder for each word with its clips in it, as in yes/a_nohash_0.wav"
    )


def listed(root: Path, folder: str) -> list[Clip]:
    """The audio files of one folder, by name."""
    if not (root / folder).is_dir():
        return []
    found = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(audio.EXTENSIONS) and not entry.name.startswith(".") and entry.is_file():
                status = entry.stat()
                found.append(Clip(folder, entry.name, status.st_size, status.st_mtime_ns))
    return sorted(found)


def speaker(file: str) -> str:
    """The speaker's mark in a file name of the data set; of other names, all but the extension."""
    return file.partition("_nohash_")[0] if "_nohash_" in file else file.rpartition(".")[0]


def part_by_speaker(file: str) -> str:
    """The part that the data set's own rule gives a file: a hash of its speaker's mark, 10 % test, 10 % validation.

    The rule is `which_set` in the README of Speech Commands (Warden 2018): SHA-1 modulo 2^27 as a percentage.
    """
    largest = 2**27 - 1
    percentage = int(hashlib.sha1(speaker(file).encode()).hexdigest(), 16) % (largest + 1) * (100.0 / largest)
    return "val" if percentage < 10 else "test" if percentage < 20 else "train"


def official_parts(root: Path, clips: list[Clip], words: set[str]) -> list[str]:
    """The part of each clip, by the list files where both are there, else by the speaker's hash.

    Raises:
        BadInput: a list names clips of the given words that are not there.
    """
    paths = {part: root / name for part, name in LISTS.items()}
    if not all(path.is_file() for path in paths.values()):
        return [part_by_speaker(clip.file) for clip in clips]
    there = {clip.name for clip in clips}
    parts: dict[str, str] = {}
    for part, path in paths.items():
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path} cannot be read as a list of clips ({error})") from error
        missing = [name for name in names if name not in there and name.partition("/")[0] in words]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise BadInput(
                f"{path} names {missing[0]}{more}, which {'are' if more else 'is'} not there; "
                "bring the clips back, correct the list, or remove both lists (speakers are then divided by their hash)"
            )
        parts |= dict.fromkeys(names, part)
    return [parts.get(clip.name, "train") for clip in clips]


def decode(path: Path, rate: int, stereo: str) -> tuple[np.ndarray, str]:
    """The first second of a clip (time,), int16 or float32, and what was done to it: `cut`, `padded`, `changed` or nothing.

    Raises:
        BadInput: as `audio.load`.
    """
    try:  # most clips are 16-bit mono wav at the rate wanted: three times faster than through libsndfile
        with wave.open(str(path), "rb") as file:
            count, plain = (
                file.getnframes(),
                (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate),
            )
            data = file.readframes(min(count, rate)) if plain else b""
        if plain and len(data) == 2 * min(count, rate) > 0:
            return np.frombuffer(data, "<i2"), "cut" if count > rate else "padded" if count < rate else ""
    except (wave.Error, EOFError, OSError):
        pass  # a file of another kind, or a bad one: libsndfile says which
    header = audio.info(path)
    samples = audio.load(path, rate, stereo, longest_s=1.0)[:rate]
    changed = header.rate != rate or header.channels > 1
    return samples, "changed" if changed else "cut" if header.frames > rate else "padded" if len(samples) < rate else ""


def pack(part: Path, root: Path, clips: list[Clip], background: list[Clip], rate: int, stereo: str) -> None:
    """Decode clips, then recordings of noise, into a pack in the folder `part`; every clip is one row of a second."""
    writer = PackWriter(part, ("clip",), rate)
    done: Counter[str] = Counter()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for clip, (samples, what) in progress(
            zip(clips, ahead(pool, root, clips, rate, stereo), strict=True), len(clips), "reading clips"
        ):
            done[what] += 1
            writer.add(clip.name, speaker(clip.file), {"clip": samples})
    for clip in background:
        writer.add(clip.name, BACKGROUND, {"clip": audio.load(root / clip.name, rate, stereo)})
    texts = {
        "padded": "shorter than 1 s: zeros follow", "cut": "longer than 1 s: only the first second is used",
        "changed": f"at another rate than {rate} Hz or of several channels: resampled or mixed down",
    }  # fmt: skip
    writer.close([f"{done[what]} clips are {text}" for what, text in texts.items() if done[what]])


def ahead(
    pool: ThreadPoolExecutor, root: Path, clips: list[Clip], rate: int, stereo: str
) -> Iterable[tuple[np.ndarray, str]]:
    """Clips decoded by several threads, in order, a chunk at a time so that memory stays small."""
    for begin in range(0, len(clips), CHUNK):
        yield from pool.map(lambda clip: decode(root / clip.name, rate, stereo), clips[begin : begin + CHUNK])
