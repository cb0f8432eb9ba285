"""Sounds and pictures inside a page: recordings as FLAC, their spectrograms as PNG, all as data addresses."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.report.drawing import RANGE_DB, envelope, png, spectrogram_db

BUDGET = 6_500_000  # characters of sounds and their pictures in a page, which has to stay below 10 MB
PICTURES = 250_000  # characters that the pictures of a recording take at most
LONGEST = 4_800_000  # samples of a version, 5 min at 16 kHz: more is left beside the page, unread
VERSIONS = ("noisy", "denoised", "clean")
COLUMNS, ROWS = 600, 128  # pixels of a spectrogram
WIDTH, HEIGHT = 600, 80  # of a waveform's drawing


class AudioFile(NamedTuple):
    """A file in `audio/`: which item it is of, and in which version."""

    path: Path
    name: str
    version: str


class Sound(NamedTuple):
    """A version of a recording: its sound and its pictures."""

    version: str
    source: str
    wave: str  # SVG path
    spectrogram: str


class Recording(NamedTuple):
    """The versions of a recording that are in one player."""

    name: str
    seconds: float
    nyquist_khz: float
    sounds: list[Sound]

    @property
    def size(self) -> int:
        """Characters in the page."""
        return sum(len(text) for sound in self.sounds for text in sound)


class Media(NamedTuple):
    """What there is to listen to in a page.

    Attributes:
        clips: addresses of clips, by the names of their items.
        omitted: recordings that the page has no room for, as names with their files.
    """

    recordings: list[Recording]
    clips: dict[str, str]
    omitted: list[str]


def list_audio(folder: Path) -> list[AudioFile]:
    """The recordings in a run's `audio/`: by its index, or by file names where there is none."""
    audio = folder / "audio"
    try:
        rows = json.loads((audio / "index.json").read_text())
        if not isinstance(rows, list):
            raise ValueError("no list of recordings")
    except (OSError, ValueError, RecursionError):  # runs of before the index
        named = re.compile(rf"(.+)_({'|'.join(VERSIONS)})")
        matches = [(path, named.fullmatch(path.stem)) for path in sorted(audio.glob("*.wav"))]
        return [AudioFile(path, match[1], match[2]) for path, match in matches if match]
    rows = [row for row in rows if isinstance(row, dict) and {"file", "name", "version"} <= row.keys()]
    # Never outside the folder, whatever the index says.
    return [AudioFile(audio / Path(str(row["file"])).name, str(row["name"]), str(row["version"])) for row in rows]


def embed_media(folder: Path) -> Media:
    """Embed what there is to listen to of a run, as far as a page has room; files that cannot be read are left out."""
    room = BUDGET
    media = Media([], {}, [])
    versions: dict[str, list[AudioFile]] = {}
    for file in list_audio(folder):
        length = count_samples(file.path)
        if length and file.version in VERSIONS:
            versions.setdefault(file.name, []).append(file)
        elif 0 < length <= LONGEST and len(source := flac(*read_mono(file.path))) <= room:
            room -= len(source)
            media.clips[file.name] = source
    for name, files in versions.items():
        files.sort(key=lambda file: VERSIONS.index(file.version))
        short = max(count_samples(file.path) for file in files) <= LONGEST and room > PICTURES
        recording = embed_recording(name, files) if short else None
        if recording is None or recording.size > room:
            media.omitted.append(f"{name} ({', '.join(file.path.name for file in files)})")
        else:
            room -= recording.size
            media.recordings.append(recording)
    return media


def count_samples(path: Path) -> int:
    """Length of a recording; 0 where there is none."""
    import soundfile

    try:
        return int(soundfile.info(path).frames)
    except (OSError, RuntimeError):  # libsndfile's errors are the latter
        return 0


def embed_recording(name: str, files: Sequence[AudioFile]) -> Recording:
    """Embed a recording in its versions, whose pictures share one scale."""
    waves = [read_mono(file.path) for file in files]
    rate = waves[0][1]
    levels = [pool_rows(spectrogram_db(wave, COLUMNS)) for wave, _ in waves]
    top = max(float(level.max()) for level in levels)
    peak = max(float(np.abs(wave).max()) for wave, _ in waves)
    sounds = [
        Sound(file.version, flac(wave, rate), waveform_path(wave, peak), spectrogram_picture(level, top))
        for file, (wave, _), level in zip(files, waves, levels, strict=True)
    ]
    return Recording(name, max(len(wave) for wave, _ in waves) / rate, rate / 2000, sounds)


def read_mono(path: Path) -> tuple[np.ndarray, int]:
    """Samples (time,) and sample rate of a file; channels are averaged."""
    import soundfile

    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.nan_to_num(wave.mean(1)), int(rate)


def flac(wave: np.ndarray, rate: int) -> str:
    """A recording (time,) without loss, as a data address."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC", subtype="PCM_16")
    return data_address("audio/flac", file.getvalue())


def pool_rows(level: np.ndarray) -> np.ndarray:
    """Reduce a spectrogram in dB to ROWS bands of equal width, high ones first. Shape: (frequency, frame) -> (ROWS, frame)."""
    power = 10 ** (level[1:] / 10)  # without the constant part
    return np.asarray(10 * np.log10(power.reshape(ROWS, -1, power.shape[1]).mean(1)))[::-1]


def waveform_path(wave: np.ndarray, peak: float) -> str:
    """The SVG path of a waveform's envelope; `peak` is half the height. Shape: wave (time,)."""
    low, high = envelope(wave, WIDTH).T
    x = np.linspace(0, WIDTH, len(low), endpoint=False)
    scale = HEIGHT / 2 / (peak or 1.0)
    points = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
    return "M" + "L".join(f"{a:.1f} {HEIGHT / 2 - scale * b:.1f}" for a, b in points) + "Z"


def spectrogram_picture(level: np.ndarray, top: float) -> str:
    """A picture of levels from `top` down to RANGE_DB below it, as a data address. Shape: (rows, columns) in dB."""
    from matplotlib import colormaps

    numbers = np.round(255 * np.clip((level - top) / RANGE_DB + 1, 0, 1)).astype(np.uint8)
    return png_address(png(numbers, (np.array(colormaps["magma"](range(256)))[:, :3] * 255).astype(np.uint8)))


def png_address(content: bytes) -> str:
    """A PNG file as a data address."""
    return data_address("image/png", content)


def data_address(kind: str, content: bytes) -> str:
    """A file as an address that holds all of it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
