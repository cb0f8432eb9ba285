"""The frames of an mp3 file: how many there are, whatever its header says, and what lies between them."""

from __future__ import annotations

import re
from functools import cache
from mmap import mmap
from typing import NamedTuple

# kbit/s by four bits of a frame's header, for (MPEG version, layer); layers II and III of MPEG 2 share one row.
# ISO/IEC 11172-3 and 13818-3, 2.4.2.3 each.
KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44100, 48000, 32000)  # Hz of MPEG 1; half of them in MPEG 2, a quarter in 2.5
SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]")
DELAY = 529  # samples
RUN = 3  # frames in a row that begin a stretch: the same bits turn up by chance in pictures and in noise
REMEDY = "write its header anew, without loss: ffmpeg -i in.mp3 -c copy out.mp3"


class Frame(NamedTuple):
    """What the header of a frame says: its length in bytes and samples, and what all frames of a stream have in common."""

    size: int
    samples: int
    stream: tuple[int, int, int, bool]  # version, layer, Hz, mono
    info_at: int  # where a Xing or Info header would stand in it


class Frames(NamedTuple):
    """The sound of a file.

    pieces: (first byte, byte after the last) of its stretches, without headers of encoders; total: how many frames they are;
    claims: how many each header of an encoder promises; samples: per channel; begin: where the first of all frames is; first:
    the four bytes that it begins with; fault: what is wrong.
    """

    pieces: list[tuple[int, int]]
    total: int
    claims: list[int]
    samples: int
    begin: int
    first: bytes
    fault: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        frame = parse_frame(self.first)
        return self.samples / frame.stream[2] if frame else 0.0


@cache
def parse_frame(head: bytes) -> Frame | None:
    """A frame by its first four bytes; None where they begin none."""
    word = int.from_bytes(head.ljust(4, b"\0"))
    version, layer = {3: 1, 2: 2, 0: 4}.get(word >> 19 & 3), 4 - (word >> 17 & 3)  # 4 is what is called 2.5
    kbits, rate = word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version is None or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    coarse, mono = min(version, 2), word >> 6 & 3 == 3
    bits, hz = 1000 * KBITS[coarse, layer if coarse == 1 else min(layer, 2)][kbits - 1], RATES[rate] // version
    samples = 384 if layer == 1 else 576 if layer == 3 and coarse == 2 else 1152
    unit = 4 if layer == 1 else 1  # bytes of a slot
    size = (samples * bits // (8 * unit * hz) + (word >> 9 & 1)) * unit
    side = (17 if mono else 32) if coarse == 1 else (9 if mono else 17)
    return Frame(size, samples, (version, layer, hz, mono), 4 + 2 * (not word >> 16 & 1) + side)


def read_claim(data: mmap, at: int, frame: Frame) -> int | None:
    """How many frames an encoder's header at a frame's place promises, 0 where it does not say; None where it is sound."""
    place = at + frame.info_at
    if frame.stream[1] == 3 and data[place : place + 4] in (b"Xing", b"Info"):
        return int.from_bytes(data[place + 8 : place + 12]) if data[place + 7] & 1 else 0
    place = at + 36
    if data[place : place + 4] == b"VBRI":
        return int.from_bytes(data[place + 14 : place + 18])
    return None


def tag_length(data: mmap, at: int) -> int:
    """Bytes of the ID3, APE or lyrics tag at a place; 0 where there is none."""
    head = data[at : at + 32]
    if head[:3] == b"ID3" and len(head) >= 10:
        size = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return 10 + size + 10 * bool(head[5] & 16)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return 32 + int.from_bytes(head[12:16], "little") * bool(head[23] & 32)  # bit 29: a header, and no footer
    if head[:11] == b"LYRICSBEGIN" and (end := data.find(b"LYRICS200", at, at + 1_000_100)) > 0:
        return end + 9 - at
    return {b"TAG+": 227}.get(head[:4], 128 * (head[:3] == b"TAG"))


def find_run(data: mmap, at: int) -> tuple[int, Frame | None]:
    """The first place from `at` on where some frames of one stream, or all to the end, follow each other."""
    while match := SYNC.search(data, at):
        at = match.start()
        first = frame = parse_frame(data[at : at + 4])
        place, run = at, 0
        while first and frame and frame.stream == first.stream and run < RUN and place + frame.size <= len(data):
            place, run = place + frame.size, run + 1
            frame = parse_frame(data[place : place + 4])
        if run == RUN or (run and (place == len(data) or tag_length(data, place))):
            return at, first
        at += 1
    return len(data), None


def read_frames(data: mmap) -> Frames:
    """Walk through all frames of a file, over tags, zeros and what else lies before, between and behind them."""
    at, run_end, begin, stream, fault, total, samples = 0, -1, 0, None, "", 0, 0
    pieces: list[tuple[int, int]] = []
    claims: list[int] = []
    while at < len(data):
        frame = parse_frame(data[at : at + 4]) if at == run_end else None
        if frame is None or frame.stream != stream:
            start, frame = find_run(data, skip_tags(data, at))
            if frame is None:
                break
            if stream is not None and not is_padding(data, at, start):
                fault = fault or f"{start - at} bytes at {at} are no mp3"
            if stream not in (None, frame.stream):
                fault = "rate, channels or layer change within it"
            at, stream, begin = start, frame.stream, begin if stream else start
        run_end = at + frame.size
        if run_end > len(data):
            fault = fault or "its last frame is not whole"
            break
        if (claim := read_claim(data, at, frame)) is not None:
            claims.append(claim)
        else:
            total, samples = total + 1, samples + frame.samples
            joined = pieces.pop()[0] if pieces and pieces[-1][1] == at else at
            pieces.append((joined, run_end))
        at = run_end
    return Frames(pieces, total, claims, samples, begin, data[begin : begin + 4], fault)


def skip_tags(data: mmap, at: int) -> int:
    """The place behind the tags at a place, unless what follows shows that a length in them is wrong."""
    place = at
    while length := tag_length(data, place):
        place += length
    rest = data[place : place + 4]
    return place if place <= len(data) and (parse_frame(rest) or not any(rest)) else at


def is_padding(data: mmap, begin: int, end: int) -> bool:
    """Whether nothing but tags, and zeros behind them, lies between two places."""
    return not data[min(skip_tags(data, begin), end) : end].strip(b"\0")


def write_header(frames: Frames) -> tuple[bytes, int]:
    """Frames to put in front of a stream so that decoders know its length, and how many samples they decode too many then.

    Behind a Xing header, which only layer III has, libmpg123 leaves out the 529 samples that its decoder is late by; a frame
    of silence before the sound keeps them from being missed.
    """
    word = int.from_bytes(frames.first) & ~0xF200 | 0x10000  # no checksum, no padding, and a bit rate large enough
    for kbits in range(1, 15):
        head = (word | kbits << 12).to_bytes(4)
        frame = parse_frame(head)
        if frame and frame.stream[1] == 3 and frame.size >= frame.info_at + 12:
            said = b"Xing" + (1).to_bytes(4) + (frames.total + 1).to_bytes(4)
            info = (head.ljust(frame.info_at, b"\0") + said).ljust(frame.size, b"\0")
            return info + head.ljust(frame.size, b"\0"), frame.samples - DELAY
    return b"", 0
