"""Sounds and pictures inside a page: recordings as FLAC, their spectrograms as PNG, all as data addresses."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechml.report import svg

BUDGET = 6_500_000  # characters of sounds and their pictures in a page, which has to stay below 10 MB
DRAWN = 250_000  # characters that the pictures of a recording take at most
LONGEST = 4_800_000  # samples of a version, 5 min at 16 kHz: more is left beside the page, unread
VERSIONS = ("noisy", "denoised", "clean")
N_FFT = 512  # samples of a spectrogram's frame
COLUMNS, ROWS = 600, 128  # pixels of a spectrogram
WIDE, HIGH = 600, 80  # of a waveform's drawing
RANGE_DB = 80.0


class Sound(NamedTuple):
    """A version of a recording: its sound and its pictures."""

    version: str
    file: str
    source: str
    wave: str  # SVG path
    spectrogram: str


class Recording(NamedTuple):
    """The versions of a recording that stand in one player."""

    name: str
    seconds: float
    nyquist_khz: float
    sounds: list[Sound]


class Clip(NamedTuple):
    """A clip that stands behind a cell of a confusion matrix."""

    name: str
    file: str
    source: str


def listed(folder: Path) -> list[dict[str, str]]:
    """File, item and version of each recording in `audio/`: by its index, or by file names where there is none."""
    try:
        found = json.loads((folder / "audio" / "index.json").read_text())
        return [{key: str(row[key]) for key in ("file", "name", "version")} for row in found]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # runs of before the index
    rows = []
    for path in sorted((folder / "audio").glob("*.wav")):
        if match := re.fullmatch(rf"(.+)_({'|'.join(VERSIONS)})", path.stem):
            rows.append({"file": path.name, "name": match[1], "version": match[2]})
    return rows


class Left(NamedTuple):
    """A recording that the page has no room for."""

    name: str
    files: list[str]


def embedded(folder: Path) -> tuple[list[Recording], list[Clip], list[Left]]:
    """What there is to listen to of a run, as far as the page has room; files that cannot be read are left out."""
    room = BUDGET
    versions: dict[str, list[tuple[str, Path]]] = {}
    clips: list[Clip] = []
    for row in listed(folder):
        path = folder / "audio" / Path(row["file"]).name  # never outside the folder, whatever the index says
        if samples_in(path) == 0:
            continue
        if row["version"] in VERSIONS:
            versions.setdefault(row["name"], []).append((row["version"], path))
        elif samples_in(path) <= LONGEST and len(source := flac(*_read(path))) <= room:
            room -= len(source)
            clips.append(Clip(row["name"], path.name, source))
    recordings, left = [], []
    for name, files in versions.items():
        files.sort(key=lambda item: VERSIONS.index(item[0]))
        recording = None
        if max(samples_in(path) for _, path in files) <= LONGEST and room > DRAWN:
            recording = player(name, files, room)
        if recording is None:
            left.append(Left(name, [path.name for _, path in files]))
            continue
        room -= sum(len(sound.source) + len(sound.wave) + len(sound.spectrogram) for sound in recording.sounds)
        recordings.append(recording)
    return recordings, clips, left


def samples_in(path: Path) -> int:
    """Length of a recording; 0 where there is none."""
    import soundfile

    try:
        return int(soundfile.info(path).frames)
    except (OSError, RuntimeError):  # libsndfile's errors are the latter
        return 0


def player(name: str, files: list[tuple[str, Path]], room: int) -> Recording | None:
    """A recording in its versions, whose pictures share one scale; None where that takes more than `room`."""
    waves = {version: _read(path) for version, path in files}
    rate = next(iter(waves.values()))[1]
    sources = {version: flac(wave, rate) for version, (wave, _) in waves.items()}
    if sum(map(len, sources.values())) + DRAWN > room:
        return None
    levels = {version: spectrogram_db(wave) for version, (wave, _) in waves.items()}
    top = max(float(level.max()) for level in levels.values())
    peak = max(float(np.abs(wave).max()) for wave, _ in waves.values())
    sounds = [
        Sound(version, path.name, sources[version], svg.waveform(waves[version][0], WIDE, HIGH, peak),
              png(levels[version], top))
        for version, path in files
    ]  # fmt: skip
    return Recording(name, max(len(wave) for wave, _ in waves.values()) / rate, rate / 2000, sounds)


def _read(path: Path) -> tuple[np.ndarray, int]:
    import soundfile

    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.nan_to_num(wave.mean(1)), int(rate)


def flac(wave: np.ndarray, rate: int) -> str:
    """A recording (time,) without loss, as a data address."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(file.getvalue()).decode()}"


def spectrogram_db(wave: np.ndarray) -> np.ndarray:
    """Power of Hann frames in dB, a frame a column, pooled in frequency. Shape: (time,) -> (rows, columns), low ones last."""
    hop = max(N_FFT // 4, -(-len(wave) // COLUMNS))
    padded = np.pad(wave, (0, max(0, N_FFT - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(N_FFT), axis=1)[:, 1:]) ** 2  # without the constant part
    pooled = power.reshape(len(power), ROWS, -1).mean(2)
    return np.asarray(10 * np.log10(pooled + 1e-12)).T[::-1]


def png(level: np.ndarray, top: float) -> str:
    """A picture of levels from `top` down to RANGE_DB below it, as a data address. Shape: (rows, columns) in dB."""
    from matplotlib import colormaps
    from PIL import Image

    grey = np.clip((level - top) / RANGE_DB + 1, 0, 1)
    image = Image.fromarray(np.round(255 * grey).astype(np.uint8), mode="P")
    image.putpalette((np.array(colormaps["magma"](range(256)))[:, :3] * 255).astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def picture(path: Path) -> str:
    """A PNG file as a data address."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def as_json(value: Any) -> str:
    """JSON that can stand within a script element, whatever it holds."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028")
