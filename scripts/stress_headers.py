"""Read audio files with damaged headers in every way that a command reads one: each is read, or refused in a sentence."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from stress_damage import flip, insert, zero
from stress_reader import memory

LIMIT_S, LIMIT_MB = 20, 1000
RATE = 16000
HEAD = 128  # bytes in which headers lie
# Name of the file, libsndfile's format and subtype, channels.
WHOLE = (
    ("a.wav", "WAV", "PCM_16", 1), ("a.wav", "WAV", "PCM_24", 2), ("a.wav", "WAV", "FLOAT", 1), ("a.wav", "WAV", "ULAW", 1),
    ("a.wav", "WAV", "IMA_ADPCM", 1), ("a.wav", "WAV", "MS_ADPCM", 2), ("a.wav", "WAVEX", "PCM_16", 2),
    ("a.wav", "RF64", "PCM_16", 1), ("a.w64", "W64", "PCM_16", 1), ("a.aiff", "AIFF", "PCM_16", 1), ("a.au", "AU", "PCM_16", 1),
    ("a.caf", "CAF", "PCM_16", 1), ("a.flac", "FLAC", "PCM_16", 1), ("a.flac", "FLAC", "PCM_24", 2),
    ("a.ogg", "OGG", "VORBIS", 1), ("a.opus", "OGG", "OPUS", 2), ("a.mp3", "MP3", "MPEG_LAYER_III", 1),
    ("a.mp3", "MP3", "MPEG_LAYER_III", 2),
)  # fmt: skip
HUGE = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 62, (1 << 64) - 1)


@cache
def whole_files() -> list[tuple[str, bytes]]:
    """Half a second of noise in every format, and mp3s with tags or without a header, by name."""
    files, random = [], np.random.default_rng(0)
    for name, kind, subtype, channels in WHOLE:
        buffer = io.BytesIO()
        soundfile.write(buffer, 0.1 * random.standard_normal((RATE // 2, channels)), RATE, subtype, format=kind)
        files.append((name, buffer.getvalue()))
    mp3 = files[-1][1]
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    return [
        *files,
        ("a.mp3", mp3[mp3.index(b"\xff", 300) :]),
        ("a.mp3", tag + mp3 + b"TAG" + bytes(125)),
        ("a.wav", mp3),
    ]


def overwrite_field(raw: bytearray, draws: Random) -> bytearray:
    """A field of the header with a value that is very large, none, or any."""
    size = draws.choice([1, 2, 4, 8])
    at = draws.randrange(HEAD - size)
    value = draws.choice([*HUGE, draws.getrandbits(8 * size)]) & (1 << 8 * size) - 1
    raw[at : at + size] = value.to_bytes(size, draws.choice(["little", "big"]))
    return raw


def flip_head(raw: bytearray, draws: Random) -> bytearray:
    """Some bits of the header."""
    for _ in range(draws.choice([1, 1, 2, 8, 40])):
        raw[draws.randrange(HEAD)] ^= 1 << draws.randrange(8)
    return raw


def cut_off(raw: bytearray, draws: Random) -> bytearray:
    """The beginning, often within the header."""
    return raw[: draws.choice([draws.randrange(1, HEAD), draws.randrange(1, len(raw)), len(raw) - 1])]


def two_fields(raw: bytearray, draws: Random) -> bytearray:
    """Several fields of the header."""
    return overwrite_field(overwrite_field(raw, draws), draws)


def double(raw: bytearray, draws: Random) -> bytearray:
    """Another file behind it."""
    return raw + draws.choice(whole_files())[1]


DAMAGES: tuple[Callable[[bytearray, Random], bytes | bytearray], ...] = (
    flip_head, overwrite_field, two_fields, cut_off, flip, insert, zero, double,
)  # fmt: skip


def damaged_headers(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged audio files, the same for equal seeds: a file name with the right extension, and the content."""
    for number in range(count):
        draws = Random(f"{seed}-{number}")
        name, content = whole_files()[number % len(whole_files())]
        damage = DAMAGES[number // len(whole_files()) % len(DAMAGES)]
        yield f"{number}-{damage.__name__}-{name}", bytes(damage(bytearray(content), draws))


class Copy:
    """A denoiser that changes nothing."""

    sample_rate = RATE

    def stream(self, channels: int) -> Copy:  # noqa: ARG002 (the protocol's signature)
        return self

    def next(self, waveform: np.ndarray, last: bool) -> np.ndarray:  # noqa: ARG002
        return waveform


def readers() -> dict[str, Callable[[Path], Any]]:
    """What commands do with a file, by name."""
    from speechml.data.word_folders import decode
    from speechml.inference.denoise import denoise_file
    from speechml.music.recordings import read_rows
    from speechml.storage import audio
    from speechml.tasks.word_windows import read_windows

    return {
        "info": audio.info, "load": lambda path: audio.load(path, RATE), "words": lambda path: decode(path, RATE, "mix"),
        "windows": lambda path: sum(1 for _ in read_windows(path, RATE)), "music": read_rows,
        "denoise": lambda path: denoise_file(Copy(), path, path.parent / "out" / path.name),  # type: ignore[arg-type]
    }  # fmt: skip


def read_in_all_ways(path: Path) -> Iterator[str]:
    """What is wrong with how a file is read, a sentence each."""
    from speechml.errors import UserError

    for way, read in readers().items():
        try:
            read(path)
        except UserError as error:
            if str(path) not in str(error) or "\n" in str(error):
                yield f"{way}: refused, but not in a sentence that names it: {str(error)!r}"
        except BaseException as error:
            yield f"{way}: {type(error).__name__}: {error}"


def serve() -> None:
    """Read each path that is sent; say what was wrong, how long it took and how much more memory."""
    from multiprocessing import resource_tracker  # noqa: F401 (loaded before memory is measured)

    readers()
    print("ready", flush=True)
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is measured anew
        begin, before = time.monotonic(), memory("VmRSS")
        faults = list(read_in_all_ways(Path(line.rstrip("\n"))))
        answer = {"faults": faults, "s": time.monotonic() - begin, "mb": memory("VmHWM") - before}
        print(json.dumps(answer), flush=True)


def start(errors: Path) -> subprocess.Popen[str]:
    """A process that reads files, whose stderr goes into a file."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=errors.open("a"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit(errors.read_text())
    return process


def headers(cases: int, seed: int = 0) -> int:
    """Read `cases` damaged files in all ways; the number of failures."""
    begin, faults, most = time.monotonic(), list[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="stress-headers-") as folder:
        errors = Path(folder) / "stderr"
        process = start(errors)
        for name, content in tqdm(damaged_headers(seed, cases), "reading", cases, leave=False, disable=None):
            path = Path(folder) / name
            path.write_bytes(content)
            assert process.stdin is not None
            assert process.stdout is not None
            print(path, file=process.stdin, flush=True)
            hung = not select.select([process.stdout], [], [], LIMIT_S)[0]
            if hung or not (line := process.stdout.readline()):
                process.kill()
                process.communicate()
                faults.append(f"{name}: " + (f"took {LIMIT_S} s" if hung else f"ended it with {process.returncode}"))
                process = start(errors)
            else:
                answer = json.loads(line)
                faults += [f"{name}: {fault}" for fault in answer["faults"]]
                most = most | Counter({"s": answer["s"], "MB": answer["mb"]})
                if answer["mb"] > LIMIT_MB:
                    faults.append(f"{name}: took {answer['mb']} MB")
            path.unlink()
        process.kill()
        process.communicate()
        if "Traceback" in errors.read_text(errors="replace"):
            faults.append("a traceback was printed")
    for fault in faults:
        print(f"headers, seed {seed}: {fault}")
    print(
        f"headers: {cases} damaged, {len(faults)} failures; at most {most['s']:.1f} s and {most['MB']} MB a file; "
        f"{time.monotonic() - begin:.0f} s"
    )
    return len(faults)


if __name__ == "__main__":
    serve()
