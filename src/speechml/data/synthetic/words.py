"""Single words, spoken by espeak-ng's voices: stands in for Speech Commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from speechml.data.clips import CLIP_S
from speechml.data.synthetic import espeak


def spoken_words(
    words: Sequence[str], voices: Sequence[str], rate: int
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Each word by each voice: the name of the clip, as word/accent_variant.wav, its voice and samples (time,)."""
    for number, (voice, text) in enumerate((voice, text) for voice in voices for text in words):
        yield f"{text}/{voice.replace('+', '_')}.wav", voice, word(text, voice, number, rate)


def word(text: str, voice: str, number: int, rate: int) -> NDArray[np.float32]:
    """One word in one second at a random place, in a random manner: float32 (rate,), the same for the same arguments.

    Manner and level are within what sounds natural, chosen here: espeak-ng's defaults are 175 words a minute, 50, 50.
    """
    random = np.random.default_rng([1, number])
    pace, pitch, pitch_range = (int(random.integers(low, high)) for low, high in ((120, 201), (30, 71), (30, 71)))
    said = espeak.say(text, voice, pace, pitch, pitch_range).astype(np.float32)
    speech = soxr.resample(said, espeak.SAMPLE_RATE, rate)
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    length = round(CLIP_S * rate)
    speech = speech[loud[0] : loud[-1] + 1][:length]
    peak = 10 ** (random.uniform(-20, -3) / 20)
    clip = np.zeros(length, np.float32)
    place = int(random.integers(length - len(speech) + 1))
    clip[place : place + len(speech)] = speech * (peak / np.abs(speech).max())
    return clip
