"""Audio files out through libsndfile; `storage.audio` reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from speechml.errors import UserError
from speechml.storage.files import new_version

if TYPE_CHECKING:
    from speechml.storage.audio import Info

# What libsndfile both reads and writes, by extension; files are known by their content, not by that.
FORMATS = {
    ".wav": "WAV", ".wave": "WAV", ".bwf": "WAV", ".rf64": "RF64", ".w64": "W64", ".aif": "AIFF", ".aiff": "AIFF",
    ".aifc": "AIFF", ".au": "AU", ".snd": "AU", ".caf": "CAF", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG",
    ".opus": "OGG", ".mp3": "MP3",
}  # fmt: skip
EXTENSIONS = tuple(FORMATS)
PLAIN = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # samples as they are, without a codec
BLOCK = 1 << 16  # samples read or written at a time: libsndfile's stack overflows on a minute of ogg in one call


def append(file: soundfile.SoundFile, waveform: NDArray[np.floating]) -> None:
    """Write (time,) or (time, channel) to an open file, a block at a time."""
    for start in range(0, len(waveform), BLOCK):
        file.write(waveform[start : start + BLOCK])


def format_to_write(path: Path, source: Info | None = None) -> tuple[str, str]:
    """libsndfile's names for a file: plain samples as wide as the source's, 16 bit without one. KeyError but for EXTENSIONS."""
    kind = FORMATS[path.suffix.lower()]
    kept = source and (source.subtype in PLAIN or source.format == kind == "OGG")
    if source and kept and soundfile.check_format(kind, source.subtype):
        return kind, source.subtype
    codecs = {".mp3": "MPEG_LAYER_III", ".ogg": "VORBIS", ".oga": "VORBIS", ".opus": "OPUS"}
    return kind, codecs.get(path.suffix.lower(), "PCM_16")  # named, so that a float array does not decide it


def save(path: Path, waveform: NDArray[np.floating], rate: int) -> None:
    """Write a waveform in the format of the path's extension, whole or not at all.

    Args:
        path: ends in one of EXTENSIONS; its folder is made.
        waveform: (time,) or (time, channel), float; samples beyond [-1, 1] are clipped by 16-bit formats.
        rate: sample rate in Hz.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, subtype = format_to_write(path)
    channels = 1 if waveform.ndim == 1 else waveform.shape[1]
    try:
        with (
            new_version(path) as part,
            soundfile.SoundFile(os.fsencode(part), "w", rate, channels, subtype, format=kind) as file,
        ):
            append(file, np.clip(waveform, -1.0, 1.0))
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} cannot be written", reason(error), "choose wav or another rate") from error


def reason(error: Exception) -> str:
    """libsndfile's words without its path and full stop."""
    return str(error).split(": ")[-1].strip().rstrip(".")
