"""Text to speech without recordings: espeak-ng's library, called through ctypes.

espeak-ng keeps state that no call of its interface resets: the pitch flutter's position, the gain control, the filters
of breathy voices, the C library's random numbers. Initialising again doesn't clear it either: of 104 voices, 89 spoke
the same words differently the second time. So each call of `say` loads the library afresh, seeds both random
generators, and unloads it. That costs about 3 ms and leaves nothing behind for the next call.
"""

import atexit
import ctypes
import os
import re
import shutil
import tempfile
import threading
from _ctypes import dlclose
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from speechml.storage.building import is_running
from speechml.storage.files import this_machine

SAMPLE_RATE = 22050
"""Samples per second (Hz) of what `say` returns: the rate espeak-ng's formant voices are made at."""

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback, nothing is played, no thread is started
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: without it, missing data ends the process
_UTF8 = 1  # espeakCHARS_UTF8
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_one_at_a_time = threading.Lock()


def _data() -> Path:
    return Path(espeakng_loader.get_data_path())


@cache
def _accents() -> dict[str, Path]:
    """English accents of this build: name in lower case -> its file."""
    files = (path for path in sorted((_data() / "lang" / "gmw").iterdir()) if re.match(r"en(-|$)", path.name))
    # en-Shaw is English in another alphabet: given Latin letters it speaks as plain en does, sample by sample.
    return {path.name.lower(): path for path in files if path.name != "en-Shaw"}


@cache
def _variants() -> tuple[str, ...]:
    """Names of the speakers (timbres) of this build, sorted."""
    return tuple(sorted(path.name for path in (_data() / "voices" / "!v").iterdir()))


def voices() -> list[str]:
    """All English voices of this build, sorted, as `accent+variant`: `en-us+f2` is speaker f2 with an American accent.

    Read from the library's data folder: espeak-ng 1.52 has 8 accents and 104 variants.
    """
    return sorted(f"{accent}+{variant}" for accent in _accents() for variant in _variants())


def one_voice_a_speaker() -> list[str]:
    """Each variant once, sorted by its name, with one accent, as people have: the accents take turns."""
    accents = sorted(_accents())
    return [f"{accents[turn % len(accents)]}+{variant}" for turn, variant in enumerate(_variants())]


@cache
def _english_only() -> bytes:
    """A folder of links to the English part of the data, for as long as the process lives; killed, the next removes it.

    Where a voice's file has its name in lower case, espeak-ng opens it at once; else it reads the head of every voice
    of every language first, 3 ms a call. And its paths end at 160 characters, which a nested venv reaches.
    """
    whose = f"espeak-{this_machine()[-8:]}-"
    folder = Path(tempfile.mkdtemp(prefix=f"{whose}{os.getpid()}-"))
    for other in folder.parent.glob(f"{whose}*-*"):
        process = other.name.removeprefix(whose).partition("-")[0]
        if process.isdecimal() and not is_running(int(process)):
            shutil.rmtree(other, ignore_errors=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("en_dict", "intonations", "phondata", "phonindex", "phontab", "voices"):
        (folder / name).symlink_to(_data() / name)
    (folder / "lang").mkdir()
    for accent, path in _accents().items():
        (folder / "lang" / accent).symlink_to(path)
    return bytes(folder)


def release() -> None:
    """Remove the folder of links, where there is nothing more to say for now: a kill would leave it."""
    if _english_only.cache_info().currsize:
        shutil.rmtree(os.fsdecode(_english_only()), ignore_errors=True)
        _english_only.cache_clear()


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The library as it is in a new process: loaded, initialised, with both of its random generators seeded."""
    path = espeakng_loader.get_library_path()
    with suppress(OSError):
        dlclose(ctypes.CDLL(path, mode=os.RTLD_NOLOAD)._handle)
        raise RuntimeError(f"{path} is in use by something else in this process: its state would change what is said")
    library = ctypes.CDLL(path)
    try:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, _english_only(), _DONT_EXIT)
        if rate != SAMPLE_RATE:
            raise RuntimeError(f"espeak-ng does not start at {SAMPLE_RATE} Hz from {path}: it answers {rate}")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        ctypes.CDLL(None).srand(1)  # breathy voices draw from the C library's rand()
        yield library
        library.espeak_Terminate()
    finally:
        dlclose(library._handle)


def say(text: str, voice: str, rate_wpm: int = 175, pitch: int = 50, pitch_range: int = 50) -> NDArray[np.int16]:
    """Speak a text: int16 samples (N,) at `SAMPLE_RATE`, with the pauses espeak-ng puts around the words.

    The same arguments give the same samples: whatever was said before, in any order, in any process, with the same
    build of espeak-ng and the same C library. Calls from several threads wait for each other.

    voice: a name out of `voices()`. rate_wpm: words per minute. pitch, pitch_range: about the voice's own, which is 50.
    The defaults are espeak-ng's.
    Raises ValueError for a voice that does not exist.
    """
    accent, _, variant = voice.partition("+")
    if accent not in _accents() or variant not in _variants():
        # espeak-ng itself speaks with its default voice when it doesn't know the variant.
        raise ValueError(f"no voice {voice!r}: it must be one of voices(), such as 'en-us+f2'")
    chunks: list[bytes] = []

    @_Callback
    def keep(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    words = text.encode() + b"\0"
    with _one_at_a_time, _fresh_library() as library:
        library.espeak_SetSynthCallback(keep)
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng lists voice {voice!r} but does not load it")
        for parameter, value in ((_RATE, rate_wpm), (_PITCH, pitch), (_RANGE, pitch_range)):
            library.espeak_SetParameter(parameter, value, 0)
        library.espeak_Synth(words, ctypes.c_size_t(len(words)), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
    return np.frombuffer(b"".join(chunks), dtype=np.int16).copy()  # a buffer of bytes is read-only
