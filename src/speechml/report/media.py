"""Sounds and pictures inside a page: recordings as FLAC, their spectrograms as JPEG, all as data addresses."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechml.report.drawing import RANGE_DB, envelope, spectrogram_db
from speechml.storage.plain_files import is_plain, open_plain, plain_files, read_json

BUDGET = 6_500_000  # characters of sounds and their pictures in a page, which has to stay below 10 MB
WAV = ("WAV", "WAVEX")  # as a run writes them; other kinds may hold hours in a few bytes
LISTED = 1000  # files
SAMPLES = 40_000_000  # of a recording: more have no room
RATES = range(100, 655_351)  # Hz, that FLAC can say
VERSIONS = ("noisy", "denoised", "clean")
COLUMNS, ROWS = 600, 128  # pixels of a spectrogram
WIDTH, HEIGHT = 600, 80  # of a waveform's drawing

Wave = tuple[np.ndarray, int]  # samples (time,) and their rate in Hz


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


class Media(NamedTuple):
    """What there is to listen to in a page."""

    recordings: list[Recording]
    clips: dict[str, str]  # addresses by the names of their items
    omitted: list[str]  # recordings that the page has no room for, as names with their files


def list_audio(folder: Path) -> list[AudioFile]:
    """The recordings in a run's `audio/`: by its index, or by file names where there is none."""
    audio = folder / "audio"
    try:
        rows: Any = read_json(folder, "audio/index.json")
        # Never outside the folder, whatever the index says.
        return [AudioFile(audio / Path(str(row["file"])).name, str(row["name"]), str(row["version"]))
                for row in rows[:LISTED]]  # fmt: skip
    except (OSError, ValueError, TypeError, LookupError, RecursionError):  # damaged, or a run of before the index
        paths = [folder / name for name in plain_files(folder, *(f"audio/*_{version}.wav" for version in VERSIONS))]
        return [AudioFile(path, *path.stem.rsplit("_", 1)) for path in paths]


def embed_media(folder: Path) -> Media:
    """Embed what there is to listen to of a run, as far as a page has room; files that cannot be read are left out."""
    media, room = Media([], {}, []), BUDGET
    items: dict[str, list[AudioFile]] = {}
    for file in list_audio(folder):
        if is_plain(folder, f"audio/{file.path.name}"):
            items.setdefault(file.name, []).append(file)
    for name, files in items.items():
        size = sum(file.path.stat().st_size for file in files) // 6  # FLAC as base64 seldom takes less
        waves = {file.version: wave for file in files if size <= room and (wave := read_mono(file.path))}
        recording, clip = None, ""
        if versions := {version: waves[version] for version in VERSIONS if version in waves}:
            recording = embed_recording(name, versions)
            size = sum(len(text) for sound in recording.sounds for text in sound)
        elif waves:
            clip = flac(*waves.popitem()[1])
            size = len(clip)
        if size > room:
            media.omitted.append(f"{name} ({', '.join(file.path.name for file in files)})")
        elif recording:
            media.recordings.append(recording)
            room -= size
        elif clip:
            media.clips[name] = clip
            room -= size
    return media


def embed_recording(name: str, versions: dict[str, Wave]) -> Recording:
    """Embed a recording in its versions, whose pictures share one scale."""
    rate = next(iter(versions.values()))[1]
    levels = {version: pool_rows(spectrogram_db(wave, columns=COLUMNS)) for version, (wave, _) in versions.items()}
    top = max(float(level.max()) for level in levels.values())
    peak = max(float(np.abs(wave).max()) for wave, _ in versions.values())
    sounds = [
        Sound(version, flac(wave, rate), waveform_path(wave, peak), spectrogram_picture(levels[version], top))
        for version, (wave, _) in versions.items()
    ]
    return Recording(name, max(len(wave) for wave, _ in versions.values()) / rate, rate / 2000, sounds)


def read_mono(path: Path) -> Wave | None:
    """A recording, whose channels are averaged; None where there is none in the file."""
    import soundfile

    try:
        with open_plain(path.parent, path.name, 6 * BUDGET) as opened, soundfile.SoundFile(opened) as file:
            if file.format not in WAV or not 0 < file.frames * file.channels <= SAMPLES or file.samplerate not in RATES:
                return None
            wave, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except (OSError, RuntimeError):  # libsndfile's errors are the latter
        return None
    return (np.nan_to_num(wave.mean(1), posinf=0, neginf=0), rate) if len(wave) else None


def flac(wave: np.ndarray, rate: int) -> str:
    """A recording (time,) without loss, as a data address."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC", subtype="PCM_16")
    return data_address("audio/flac", file.getvalue())


def pool_rows(level: np.ndarray) -> np.ndarray:
    """Reduce a spectrogram in dB to ROWS bands of equal width. Shape: (frequency, frame) -> (ROWS, frame)."""
    power = 10 ** (level[1:] / 10)  # without the constant part
    return np.asarray(10 * np.log10(power.reshape(ROWS, -1, power.shape[1]).mean(1)))


def waveform_path(wave: np.ndarray, peak: float) -> str:
    """The SVG path of a waveform's envelope; `peak` is half the height. Shape: wave (time,)."""
    low, high = envelope(wave, WIDTH).T
    x = np.linspace(0, WIDTH, len(low), endpoint=False)
    scale = HEIGHT / 2 / (peak or 1.0)
    points = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
    return "M" + "L".join(f"{a:.1f} {HEIGHT / 2 - scale * b:.1f}" for a, b in points) + "Z"


def spectrogram_picture(level: np.ndarray, top: float) -> str:
    """A picture of levels from `top` down to RANGE_DB below it, as a data address. Shape: (rows, columns) in dB."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, level, vmin=top - RANGE_DB, vmax=top, cmap="magma", format="jpeg", origin="lower")
    return data_address("image/jpeg", file.getvalue())


def data_address(kind: str, content: bytes) -> str:
    """A file as an address that holds all of it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
