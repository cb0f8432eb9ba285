"""Audio files in and out through libsndfile, with errors a person can act on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from speechml.contracts import HIGHEST_RATE
from speechml.errors import UserError
from speechml.storage.audio_writing import BLOCK, EXTENSIONS, FORMATS, append, format_to_write, reason, save

__all__ = ["EXTENSIONS", "FORMATS", "append", "format_to_write", "info", "load", "read_blocks", "save"]
if TYPE_CHECKING:
    from speechml.storage.layout import Layout, Piece

Samples = NDArray[np.int16] | NDArray[np.float32]  # (time,), full scale being 32768 or 1
AUDIBLE, CANCELLED = 1e-8, 0.02  # mean square of channels, and share of it that is left, by which a mix is judged
LOUDEST = 1e6  # sample, 120 dB above full scale; 16-bit numbers that were not scaled reach 32768
LARGEST = 1 << 22  # samples of all channels that are worked on at a time
# Beyond these and HIGHEST_RATE a header is damaged: the most channels (Ambisonics of order 7) are 64.
LOWEST_RATE, MOST_CHANNELS = 1000, 64
UNKNOWN = 1 << 62  # samples: libsndfile gives the largest number it has where a length is not known
DECODER_ERRORS = (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError, OSError, MemoryError)


@dataclass(frozen=True)
class Info:
    """What is known of an audio file: rate in Hz, length in samples per channel, channels, libsndfile's names of the format."""

    rate: int
    frames: int
    channels: int
    subtype: str
    format: str = ""

    def block(self, seconds: float) -> int:
        """Samples of so many seconds, fewer where there are so many channels or samples that memory would be short."""
        return max(1, min(round(seconds * self.rate), LARGEST // self.channels))


class CutShort(UserError):
    """A recording ends before the length that its header gives, or something in the middle of it is no sound."""


class _Decoder(soundfile.SoundFile):
    """A file read from the beginning to the end, without the search for a place that soundfile makes after each block.

    libsndfile can search neither in a flac of unknown length nor exactly in an mp3.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _open(path: Path, pieces: list[Piece] | None) -> Iterator[_Decoder]:
    if pieces is None:
        with _Decoder(os.fsencode(path)) as decoder:
            yield decoder
    else:
        from speechml.storage.layout import Spliced

        with closing(Spliced(path, pieces)) as file, _Decoder(file) as decoder:
            yield decoder


def info(path: Path, whole: bool = True) -> Info:
    """Read the header of an audio file, and its length from its content where the header does not say it.

    Args:
        path: the file.
        whole: refuse a recording that is known to be cut short.

    Raises:
        UserError: no such file, no audio file, a file without samples, one cut short, or a header that cannot be.
    """
    return _examine(path, whole)[0]


def _examine(path: Path, whole: bool = True) -> tuple[Info, Layout]:
    """What is known of a file, and how to read it."""
    state: tuple[int, ...] = ()
    with suppress(OSError):  # said below
        status = path.stat()
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _read_header(path, whole, state)


@lru_cache(maxsize=1 << 14)
def _read_header(path: Path, whole: bool, state: tuple[int, ...]) -> tuple[Info, Layout]:  # noqa: ARG001 (another state, another file)
    """As `_examine`; kept, as some files are read from end to end for it."""
    from speechml.storage.layout import read_layout  # a run on the embedded corpus reads no file

    try:
        if not path.is_file():
            what = f"{path} is no file" if path.exists() else f"{path} does not exist"
            raise UserError(what, fix=f"give an audio file ({', '.join(EXTENSIONS)})")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty", why="0 bytes", fix="remove it or put the recording in its place")
        layout, headers = read_layout(path), []
        for pieces in layout.parts:
            with _open(path, pieces) as file:
                headers.append(Info(file.samplerate, file.frames, file.channels, file.subtype, file.format))
    except DECODER_ERRORS as error:
        raise UserError(
            f"{path} cannot be read as audio", why=reason(error), fix="convert it to wav or flac"
        ) from error
    header = headers[0]
    if not LOWEST_RATE <= header.rate <= HIGHEST_RATE:
        raise UserError(f"{path} has a sample rate of {header.rate} Hz", "its header is damaged", "record it again")
    if not 1 <= header.channels <= MOST_CHANNELS:
        raise UserError(f"{path} has {header.channels} channels", f"at most {MOST_CHANNELS} can be", "copy it again")
    if len({(each.rate, each.channels) for each in headers}) > 1:
        what = f"{path} holds recordings of several sample rates or numbers of channels"
        raise UserError(what, fix="take them apart into files of their own")
    if layout.fault and whole:
        raise CutShort(f"{path} is cut short or damaged", layout.fault, layout.fix)
    frames = sum(each.frames for each in headers) if layout.frames is None else layout.frames
    if frames == 0 and layout.frames is None:
        raise UserError(f"{path} holds no samples", fix="remove it or record it again")
    if frames == 0 or frames >= UNKNOWN:
        layout.frames = frames = sum(len(block) for block in _decode(path, replace(header, frames=UNKNOWN), layout))
    return replace(header, frames=frames), layout


def _decode(path: Path, header: Info, layout: Layout, kind: str = "float32") -> Iterator[NDArray[Any]]:
    """The samples (time, channel) of a file in blocks as they come, no more of them than the header says.

    Raises:
        UserError: it cannot be decoded, or holds NaN, infinities, or more than the header says.
    """
    left = header.frames
    try:
        for pieces in layout.parts:
            with _open(path, pieces) as file:
                file.read(layout.skip)
                while left and len(block := file.read(min(BLOCK, left), dtype=kind, always_2d=True)):
                    if kind == "float32":
                        _check_samples(path, block)
                    left -= len(block)
                    yield block
                if not left and header.format == "FLAC" and _has_more(file):
                    what = f"{path} holds more samples than its header says"
                    raise UserError(what, f"{header.frames}", "convert it anew: ffmpeg -i in.flac out.flac")
    except DECODER_ERRORS as error:
        raise UserError(f"{path} cannot be decoded", reason(error), "copy it again or convert it to wav") from error


def _has_more(file: soundfile.SoundFile) -> bool:
    """Whether samples follow the place that a decoder has reached; a tag or what else follows is none."""
    try:
        return len(file.read(1)) > 0
    except DECODER_ERRORS:
        return False


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
        UserError: unreadable, empty, cut short, channels refused or cancelling one another, samples NaN, Inf or over LOUDEST.
    """
    header, layout = _examine(path)
    if header.channels > 1 and stereo == "refuse":
        fix = "give mono files, or mix them down with data.stereo=mix"
        raise UserError(f"{path} has {header.channels} channels", fix=fix)
    exact = header.subtype == "PCM_16" and header.channels == 1 and rate in (None, header.rate)
    wanted = header.frames if longest_s is None else min(header.frames, math.ceil(longest_s * header.rate))
    stream = soxr.ResampleStream(header.rate, rate, 1) if rate not in (None, header.rate) else None
    parts: list[Samples] = []
    of_channels = of_mix = 0.0  # energies
    for block in _decode(path, header, layout, "int16" if exact else "float32"):
        part = block[:wanted, 0] if exact else block[:wanted].mean(axis=1, dtype=np.float32)
        if header.channels > 1:
            of_channels += float(np.square(block[:wanted], dtype=np.float64).mean(axis=1).sum())
            of_mix += float(np.square(part, dtype=np.float64).sum())
        wanted -= len(part)
        parts.append(part if stream is None else stream.resample_chunk(part, not wanted))
        if not wanted and longest_s is not None:
            break
    if wanted:
        missing = f"{header.frames - wanted} of {header.frames} samples decode"
        raise CutShort(f"{path} is cut short", missing, "copy it again")
    samples = np.ascontiguousarray(np.concatenate(parts))
    # What unlike channels leave of a mix is their number's share; 17 dB less is left only where they cancel one another.
    if of_channels > AUDIBLE * len(samples) and of_mix * header.channels < CANCELLED * of_channels:
        what = f"{path}: its {header.channels} channels cancel one another when they are mixed"
        raise UserError(what, "one is the other with its sign changed", "invert one of them, or keep one alone")
    return samples


def read_blocks(path: Path, frames: int, whole: bool = True) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """The samples (time, channel) of an audio file in blocks of `frames`, each with whether it is the last.

    Args:
        path: the file.
        frames: samples of a block.
        whole: refuse what is known to be cut short before the first block, rather than behind the last.

    Raises:
        CutShort: as `whole` says; of what only decoding shows, behind the last block.
        UserError: it cannot be decoded, or holds NaN or infinities.
    """
    header, layout = _examine(path, whole)
    held, read = np.zeros((0, header.channels), np.float32), 0
    for block in _decode(path, header, layout):
        read += len(block)
        held = np.concatenate([held, block])
        while len(held) > frames:
            yield held[:frames], False
            held = held[frames:]
    if len(held):
        yield held, True
    if read < header.frames or layout.fault:
        why = f"{read / header.rate:.1f} of {header.frames / header.rate:.1f} s decode"
        raise CutShort(f"{path} is cut short or damaged", layout.fault or why, layout.fix)


def _check_samples(path: Path, samples: NDArray[np.floating]) -> None:
    """Raises UserError for samples that are NaN, infinite, or so large that nothing can be computed of them."""
    peak = float(np.abs(samples).max(initial=0))  # NaN where one is
    if not math.isfinite(peak):
        raise UserError(f"{path} holds NaN or infinite samples", fix="export it again or remove it")
    if peak > LOUDEST:
        raise UserError(f"{path} holds a sample of {peak:.3g}, and full scale is 1", fix="scale it down or remove it")
