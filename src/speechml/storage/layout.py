"""Where the sound lies in an audio file, and how long it is, where the header that libsndfile goes by does not say or lies.

Recorders that write into a pipe cannot come back to fill in a length, an mp3 without a header has none, and files are joined
by appending one to another. Such files are handed to libsndfile in pieces, with the header that they should have.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Literal, NamedTuple

from speechml.storage import mpeg

# By the first four bytes: bytes of a chunk's name and of its size, their order, to what chunks are padded, where the first
# one begins, and the name of the one with the samples. W64's names are GUIDs, and its sizes count the chunk's head.
CHUNKS: dict[bytes, tuple[int, int, Literal["little", "big"], int, int, bytes]] = {
    b"RIFF": (4, 4, "little", 2, 12, b"data"), b"RF64": (4, 4, "little", 2, 12, b"data"),
    b"RIFX": (4, 4, "big", 2, 12, b"data"), b"FORM": (4, 4, "big", 2, 12, b"SSND"), b"caff": (4, 8, "big", 1, 8, b"data"),
    b"riff": (16, 8, "little", 8, 40, b"data"),
}  # fmt: skip
Piece = bytes | tuple[int, int]  # bytes that are not in the file, or (first, one after the last) of those that are
# A size that was never filled in is 0, all ones, or near half of that, less a header or rounded to blocks.
UNFILLED = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
NEAR = 1 << 16
STRAY = 8192  # bytes behind the samples that may be anything, and a tenth of these as well


@dataclass
class Layout:
    """What to hand to libsndfile.

    Attributes:
        parts: recordings one behind the other, each as pieces, or None where the file can be opened as it is.
        frames: samples per channel in all, 0 where only decoding tells them, None where libsndfile's header does.
        fault: what of the recording is not there or cannot be trusted.
        fix: what to do about that.
        skip: samples per channel at the begin that are no part of it.
    """

    parts: list[list[Piece] | None] = field(default_factory=lambda: [None])
    frames: int | None = None
    fault: str = ""
    fix: str = "copy it again"
    skip: int = 0


class Spliced:
    """Pieces of a file as one file to read, as soundfile asks of it; what libsndfile calls must not raise."""

    def __init__(self, path: Path, pieces: list[Piece]) -> None:
        self._file = path.open("rb", buffering=0)
        self._pieces = pieces
        self._ends = list(accumulate(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in pieces))
        self._place = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, from the begin on, from the present place or from the end."""
        self._place = max(0, offset + (0, self._place, self._ends[-1])[whence])
        return self._place

    def tell(self) -> int:
        """The place that is read next."""
        return self._place

    def read(self, size: int = -1) -> bytes:
        """As much as is left, at most `size` bytes."""
        parts, wanted = [], size if size >= 0 else self._ends[-1]
        while wanted > 0 and (number := bisect_right(self._ends, self._place)) < len(self._ends):
            piece, part = self._pieces[number], b""
            left = self._ends[number] - self._place
            if isinstance(piece, bytes):
                part = piece[len(piece) - left :][:wanted]
            else:
                with suppress(OSError):
                    part = os.pread(self._file.fileno(), min(left, wanted), piece[1] - left)
            if not part:
                break
            parts.append(part)
            self._place += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file behind it."""
        self._file.close()


def read_layout(path: Path) -> Layout:
    """Find the sound of a file. Raises OSError where it cannot be read, ValueError where it is empty."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        magic = data[:4]
        if magic == b"OggS":
            return read_ogg(data)
        start = mpeg.tag_length(data, 0) if magic[:3] == b"ID3" else 0
        if data[start : start + 4] == b"fLaC":
            return read_flac(data, start)
        if magic in CHUNKS or magic == b".snd":
            return read_chunks(data)
        is_mpeg = path.suffix.lower() == ".mp3" or magic[:3] == b"ID3" or mpeg.parse_frame(magic) is not None
        return read_mpeg(data) if is_mpeg else Layout()


def read_mpeg(data: mmap) -> Layout:
    """An mp3 as it is where its header tells the truth, else its frames behind a header that does."""
    frames = mpeg.read_frames(data)
    if not frames.total:
        return Layout()
    fault, claimed = frames.fault, sum(frames.claims)
    if claimed - frames.total > len(frames.claims):  # some encoders count their header as a frame
        fault = f"{frames.seconds:.1f} of {frames.seconds * claimed / frames.total:.1f} s decode"
    if frames.claims == [frames.total] and not frames.fault:  # tags would make libmpg123 doubt the header
        span = (frames.begin, frames.pieces[-1][1])
        return Layout([None if span == (0, len(data)) else [span]])
    header, skip = mpeg.write_header(frames)
    return Layout([[header, *frames.pieces]], frames.samples, fault, mpeg.REMEDY, skip)


def read_flac(data: mmap, start: int) -> Layout:
    """A flac whose length, which its header may leave out, is known here and not to the decoder, that it decodes all."""
    at = start + 18  # 20 bits of rate, 3 of channels, 5 of sample width, 36 of length
    fields = int.from_bytes(data[at : at + 8])
    unknown = (fields >> 36 << 36).to_bytes(8)
    return Layout([[(0, at), unknown, (at + 8, len(data))]], fields & (1 << 36) - 1)


def read_ogg(data: mmap) -> Layout:
    """The streams of an ogg file that follow each other, each by itself."""
    at, starts, sounds, ended, fault = 0, [0], False, False, ""
    while at + 27 <= len(data):
        if data[at : at + 4] != b"OggS":
            following = data.find(b"OggS", at)
            if following < 0:
                break
            fault, at = fault or f"{following - at} bytes at {at} are no ogg", following
            continue
        segments, flags = data[at + 26], data[at + 5]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        if end > len(data):
            fault, ended = fault or "its last page is not whole", True
            break
        if flags & 2 and sounds:
            starts.append(at)
        sounds, ended, at = not flags & 2, bool(flags & 4), end
    if not ended:
        fault = fault or "its end is missing"
    if len(starts) == 1 and at == len(data):
        return Layout(fault=fault)
    return Layout([[span] for span in zip(starts, [*starts[1:], at], strict=True)], fault=fault)


class Chunk(NamedTuple):
    """A chunk: its name, where its size stands in how many bytes, where its content begins, and how long it is."""

    name: bytes
    size_at: int
    size_bytes: int
    begin: int
    size: int


def walk_chunks(data: mmap, at: int) -> Iterator[Chunk]:
    """The chunks of a file from a place on, to the end or to what is none."""
    name_bytes, size_bytes, order, pad, *_ = CHUNKS[data[:4]]
    while at + name_bytes + size_bytes <= len(data):
        name, size_at = data[at : at + 4], at + name_bytes
        begin = size_at + size_bytes
        size = int.from_bytes(data[size_at:begin], order) - (begin - at) * (name_bytes == 16)
        if not name.isascii() or not name.decode().isprintable() or size < -24:
            return
        yield Chunk(name, size_at, size_bytes, begin, size)
        at = begin + -(-max(0, size) // pad) * pad


def find_samples(data: mmap) -> Chunk | None:
    """The chunk of the samples; of RF64, whose sizes have a chunk of their own, with the size from there."""
    long = None
    for chunk in walk_chunks(data, CHUNKS[data[:4]][4]):
        if chunk.name == b"ds64":
            place = chunk.begin + 8  # behind the size of the file
            long = (place, 8, int.from_bytes(data[place : place + 8], "little"))
        if chunk.name == CHUNKS[data[:4]][5]:
            if long and chunk.size == (1 << 32) - 1:
                return Chunk(chunk.name, *long[:2], chunk.begin, long[2])
            return chunk
    return None


def read_chunks(data: mmap) -> Layout:
    """A file of chunks, whose samples may reach farther than their chunk says, or less far."""
    order: Literal["little", "big"] = "big"
    head = 0
    if data[:4] == b".snd":  # a head of fixed size instead of chunks
        samples: Chunk | None = Chunk(b"", 8, 4, int.from_bytes(data[4:8]), int.from_bytes(data[8:12]))
    else:
        samples, order = find_samples(data), CHUNKS[data[:4]][2]
        head = 24 * (CHUNKS[data[:4]][0] == 16)
    if samples is None or samples.begin > len(data):
        return Layout()
    rest = len(data) - samples.begin
    behind = unexplained(data, samples)
    near = any(abs(samples.size + head - value) <= NEAR for value in UNFILLED) and samples.size > rest
    if near or (samples.size <= 0 < behind):
        at, count = samples.size_at, samples.size_bytes
        size = min(rest + head, (1 << 8 * count) - 1).to_bytes(count, order)
        return Layout([[(0, at), size, (at + count, len(data))]])
    if samples.size > rest:
        return Layout(fault=f"{samples.size - rest} bytes of samples are missing")
    stray = samples.begin + samples.size
    if behind > max(STRAY, samples.size // 10) and any(data[stray : stray + 16 * NEAR]):
        fix = "if they are samples, ffmpeg -ignore_length 1 -i in.wav out.wav keeps them; else take them off"
        return Layout(fault=f"{behind} bytes follow that its header does not tell of", fix=fix)
    return Layout([[(0, stray)] if head else None])  # of W64 libsndfile would decode all that follows


def unexplained(data: mmap, samples: Chunk) -> int:
    """How many bytes behind the samples are no chunks and no tags."""
    end = samples.begin + max(0, samples.size)
    if data[:4] in CHUNKS:
        pad = CHUNKS[data[:4]][3]
        end = samples.begin + -(-max(0, samples.size) // pad) * pad
        for chunk in walk_chunks(data, end):
            if chunk.begin + chunk.size > len(data):
                break
            end = chunk.begin + chunk.size
    return 0 if mpeg.tag_length(data, end) else max(0, len(data) - end)
