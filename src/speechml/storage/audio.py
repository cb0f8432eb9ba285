"""Audio files in and out through libsndfile: wav, flac, ogg and mp3, with errors a person can act on."""

from __future__ import annotations

import math
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from speechml.errors import UserError
from speechml.storage.files import new_version

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3")
Samples = NDArray[np.int16] | NDArray[np.float32]  # (time,), full scale being 32768 or 1
LARGEST = 1e6  # sample, 120 dB above full scale; 16-bit numbers that were not scaled reach 32768
BLOCK = 1 << 16  # samples written at a time: libsndfile's stack overflows on a minute of ogg in one call


@dataclass(frozen=True)
class Info:
    """What the header of an audio file says: rate in Hz, length in samples per channel, channels."""

    rate: int
    frames: int
    channels: int
    subtype: str


def info(path: Path) -> Info:
    """Read the header of an audio file.

    Raises:
        UserError: no such file, no audio file, a file without samples, or one cut short.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist", fix=f"give an audio file ({', '.join(EXTENSIONS)})")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty", why="0 bytes", fix="remove it or put the recording in its place")
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(
            f"{path} cannot be read as audio", why=_reason(error), fix="convert it to wav or flac"
        ) from error
    if path.suffix.lower() == ".wav" and (missing := _missing_bytes(path)):
        why = f"{missing} bytes of samples are missing"
        raise UserError(f"{path} is cut short", why, "copy it again or remove it")
    if header.frames == 0:
        raise UserError(f"{path} holds no samples", fix="remove it or record it again")
    return Info(header.samplerate, header.frames, header.channels, header.subtype)


def load(path: Path, rate: int | None = None, stereo: str = "mix", longest_s: float | None = None) -> Samples:
    """One waveform from an audio file.

    Args:
        path: the file.
        rate: sample rate wanted in Hz; the file's own when None.
        stereo: `mix` averages the channels, `refuse` accepts mono files only.
        longest_s: only so many seconds from the beginning are read, where it is given.

    Returns:
        (time,): int16 where the file holds just that and nothing had to change, else float32 within about [-1, 1].

    Raises:
        UserError: unreadable, empty, cut short, several channels where refused, NaN or Inf samples.
    """
    header = info(path)
    if header.channels > 1 and stereo == "refuse":
        fix = "give mono files, or mix them down with data.stereo=mix"
        raise UserError(f"{path} has {header.channels} channels", fix=fix)
    exact = header.subtype == "PCM_16" and header.channels == 1 and rate in (None, header.rate)
    wanted = header.frames if longest_s is None else min(header.frames, math.ceil(longest_s * header.rate))
    try:
        samples, _ = soundfile.read(str(path), wanted, dtype="int16" if exact else "float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"{path} cannot be decoded", _reason(error), "copy it again or convert it to wav") from error
    if len(samples) < wanted:
        raise UserError(f"{path} is cut short", f"{len(samples)} of {wanted} samples decode", "copy it again")
    if exact:
        return np.ascontiguousarray(samples[:, 0])
    _check_samples(path, samples)
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate not in (None, header.rate):
        mono = soxr.resample(mono, header.rate, rate)
    return np.ascontiguousarray(mono, dtype=np.float32)


def _check_samples(path: Path, samples: NDArray[np.floating]) -> None:
    """Raises UserError for samples that are NaN, infinite, or so large that nothing can be computed of them."""
    peak = float(np.abs(samples).max(initial=0))  # NaN where one is
    if not math.isfinite(peak):
        raise UserError(f"{path} holds NaN or infinite samples", fix="export it again or remove it")
    if peak > LARGEST:
        raise UserError(f"{path} holds a sample of {peak:.3g}, and full scale is 1", fix="scale it down or remove it")


class CutShort(UserError):
    """A recording ends before the length that its header gives."""


def read_blocks(path: Path, frames: int) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """The samples (time, channel) of an audio file in blocks of `frames`, each with whether it is the last.

    Raises:
        CutShort: behind the last block.
        UserError: it cannot be decoded, or holds NaN or infinities.
    """
    header, read = info(path), 0
    try:
        with soundfile.SoundFile(str(path)) as file:
            block = file.read(frames, dtype="float32", always_2d=True)
            while len(block):
                _check_samples(path, block)
                read += len(block)
                following = file.read(frames, dtype="float32", always_2d=True)
                yield block, not len(following)
                block = following
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"{path} cannot be decoded", _reason(error), "copy it again or convert it to wav") from error
    if read < header.frames:
        why = f"{read / header.rate:.1f} of {header.frames / header.rate:.1f} s decode"
        raise CutShort(f"{path} is cut short", why, "copy it again")


def append(file: soundfile.SoundFile, waveform: NDArray[np.floating]) -> None:
    """Write (time,) or (time, channel) to an open file, a block at a time."""
    for start in range(0, len(waveform), BLOCK):
        file.write(waveform[start : start + BLOCK])


def save(path: Path, waveform: NDArray[np.floating], rate: int) -> None:
    """Write a waveform in the format of the path's extension, whole or not at all.

    Args:
        path: ends in one of EXTENSIONS; its folder is made.
        waveform: (time,) or (time, channel), float; samples beyond [-1, 1] are clipped by 16-bit formats.
        rate: sample rate in Hz.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower().lstrip(".").upper()
    # 16 bit for wav and flac, named so that a float array does not decide it; the codecs have no subtype.
    subtype = "PCM_16" if kind in ("WAV", "FLAC") else None
    channels = 1 if waveform.ndim == 1 else waveform.shape[1]
    try:
        with (
            new_version(path) as part,
            soundfile.SoundFile(str(part), "w", rate, channels, subtype, format=kind) as file,
        ):
            append(file, np.clip(waveform, -1.0, 1.0))
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} cannot be written", _reason(error), "choose wav or another rate") from error


def find(folder: Path) -> list[Path]:
    """All audio files below a folder, by name; what is hidden, or lies in a hidden folder, is left out.

    Raises:
        UserError: no such folder, or no audio file in it.
    """
    if not folder.exists():
        raise UserError(f"{folder} does not exist", fix="give a folder of audio files")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file", fix="give the folder that holds the audio files")
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    found = sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not found:
        raise UserError(f"{folder} holds no audio files ({', '.join(EXTENSIONS)})")
    return found


def resampling_notes(paths: Iterable[Path], rate: int) -> list[str]:
    """A sentence on which sample rates were changed to `rate` (Hz), where some were."""
    others = Counter(own for path in paths if (own := info(path).rate) != rate)
    if not others:
        return []
    what = ", ".join(f"{count} file{'s' * (count > 1)} at {own} Hz" for own, count in sorted(others.items()))
    return [f"{what} resampled to {rate} Hz (data.sample_rate sets it)"]


def _reason(error: Exception) -> str:
    """libsndfile's words without its path and full stop."""
    return str(error).split(": ")[-1].strip().rstrip(".")


def _missing_bytes(path: Path) -> int:
    """How many bytes a wav file's data chunk promises beyond the end of the file; libsndfile passes over that."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return 0
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name == b"data":
                streamed = length in (0, 0xFFFFFFFF)  # a recorder that could not seek back leaves these
                return 0 if streamed else max(0, file.tell() + length - size)
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0
