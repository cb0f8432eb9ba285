"""Noisy and clean speech made from nothing: stands in for the recordings of labs 2A and 2B.

The labs' data, measured on excerpts: 1 s at 32 kHz; speech below about 1.9 kHz; noise roughly flat between 14.0 and
15.5 kHz; SNR -14 to -23 dB; clean power about 8.1e-8. Here the speech is espeak-ng's and all numbers are those.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechml.data.synthetic import espeak
from speechml.data.synthetic.exact import (
    NORMAL_STD,
    Draws,
    Whole,
    band_pass,
    convolve,
    energy,
    low_pass,
    power,
    resample,
    to_20_bits,
)  # fmt: skip
from speechml.storage.pack import Recording

SAMPLE_RATE = 32000  # Hz, lab 2A's file
SAMPLES = 32000  # of a clip: 1 s
CLEAN_POWER = 8e-8  # mean square of the clean clips, full scale being 1: lab 2A's 8.1e-8
LEVEL_SPREAD = 400  # in 0.01 dB; a clip's power is uniform within +- this about the middle: "a few dB", chosen here
SNR = (-2300, -1400)  # in 0.01 dB: lab 2A; uniform, mean -18.5 dB
SPEECH_HZ = 1850.0  # full 50 Hz below, nothing 50 Hz above: lab 2A's 1.9 kHz, transition chosen here
NOISE_HZ = (14000, 15500)  # lab 2A
FLOOR_POWER = 3e-12
"""Mean square of the white floor under each noisy clip, 44 dB below the speech.

Without one, nothing but the clips' edges keeps the equations of the best filter from being singular, as no recording
is. The level is chosen: with it the best 81-tap filter gives the 34 dB that lab 2A's gives on such data, from the 81st
sample on. Over whole clips it gives 29 dB: before a clip's start the filter sees zeros, and until they have passed the
noise, 18.5 dB above the speech, gets through."""


_MIDDLE_POWER = 6.9716573e-8
"""In the middle of the spread, for a mean of CLEAN_POWER: the mean of 10^(u / 10), u uniform in +-d dB, is
sinh(a) / a with a = d ln(10) / 10."""

_BATCH = 50  # clips computed at once: larger is no faster and takes more memory
_SPEECH_TAPS, _NOISE_TAPS = 1201, 12001  # transitions of 100 Hz at espeak-ng's rate, of 13 Hz at SAMPLE_RATE
_EDGE_HZ = 5.0  # the half of a transition lies inside of the band

_OPENINGS = (
    "my neighbour", "the old farmer", "our new teacher", "a tired traveller", "the little girl", "her older brother",
    "the bus driver", "nobody at home", "the captain", "someone upstairs", "the young doctor", "an honest baker",
    "the whole family", "your best friend", "the postman", "every morning he", "this evening she", "last winter we",
    "after dinner they", "on rainy days I", "before the storm we", "the quiet student", "a friendly stranger",
    "the hungry dog", "the grey cat",
)  # fmt: skip
_ENDINGS = (
    "left the kitchen window open again", "walked slowly down to the river", "carried a basket of red apples",
    "waited an hour for the last train", "found seven coins under the table", "painted the garden gate dark green",
    "never answered the ringing phone", "told a long story about the sea", "looked for shelter near the barn",
    "wanted bread and butter for breakfast", "moved the heavy boxes into the hall", "followed the road over the hill",
    "heard music from the house next door", "brought warm blankets and some tea", "learned to row a wooden boat",
    "counted the stars until midnight", "remembered the name of the village", "planted onions along the wall",
    "would rather stay than go away", "opened the letter without a word", "borrowed a ladder from the mill",
    "ran across the yard to the well", "made room for one more guest", "drew a map of the whole island",
)  # fmt: skip


class _Clip(NamedTuple):
    voice: str
    speech: Whole  # (sample,), 1 s and half a filter on both sides, at espeak-ng's rate
    power: float
    snr: float  # of powers
    noise: Whole  # white, SAMPLES and half a filter on both sides
    floor: Whole  # (SAMPLES,)


def spoken_pairs(count: int) -> Iterator[Recording]:
    """Make noisy and clean clips of spoken sentences, the labs' 2A/2B data made anew: 1,500 take about 10 s.

    A clip, float32 (SAMPLES,), depends on its own number alone, whatever the count; its speaker is a voice.
    """
    voices = espeak.one_voice_a_speaker()
    for start in range(0, count, _BATCH):
        clips = [_draw(number, voices) for number in range(start, min(start + _BATCH, count))]
        clean, noise = _clean(clips), _noise(clips)
        for i, clip in enumerate(clips):
            name = f"{start + i:04d}_{clip.voice.replace('+', '_')}"
            noisy = (clean[i] + noise[i]).astype(np.float32)
            yield Recording(name, {"noisy": noisy, "clean": clean[i].astype(np.float32)}, clip.voice)
    espeak.release()


def sentence(draws: Draws) -> str:
    """Somebody did something: one of 600 sentences."""
    return f"{draws.choice(_OPENINGS)} {draws.choice(_ENDINGS)}"


def _draw(number: int, voices: list[str]) -> _Clip:
    """Everything that is drawn for one clip, from its own random numbers."""
    draws = Draws(0, number)
    voice = voices[number % len(voices)]
    text = sentence(draws)
    # Manner within what sounds natural, chosen here: espeak-ng's defaults are 175 words a minute, 50, 50.
    rate, pitch, pitch_range = (draws.integer(low, high) for low, high in ((140, 201), (30, 71), (30, 71)))
    return _Clip(
        voice=voice,
        speech=_cut(espeak.say(text, voice, rate, pitch, pitch_range).astype(np.int64), draws),
        power=_MIDDLE_POWER * power(draws.integer(-LEVEL_SPREAD, LEVEL_SPREAD + 1)),
        snr=power(draws.integer(*SNR)),
        noise=draws.normal(SAMPLES + _NOISE_TAPS - 1),
        floor=draws.normal(SAMPLES),
    )


def _cut(said: Whole, draws: Draws) -> Whole:
    """One second from anywhere in what was said, and what the filter needs on both sides; zeros where there is no more."""
    second, context = espeak.SAMPLE_RATE, _SPEECH_TAPS // 2
    loud = np.flatnonzero(50 * np.abs(said) > np.abs(said).max())
    first, spare = int(loud[0]), int(loud[-1]) + 1 - int(loud[0]) - second
    start = first + draws.integer(min(spare, 0), max(spare, 0) + 1)
    around = np.pad(said, second + context)  # so that no cut reaches past an end
    return around[start + second : start + 2 * second + 2 * context]


def _clean(clips: list[_Clip]) -> NDArray[np.float64]:
    """Band-limited and resampled, each clip at its power: (clip, SAMPLES)."""
    banded = convolve(np.stack([clip.speech for clip in clips]), low_pass(_SPEECH_TAPS, SPEECH_HZ, espeak.SAMPLE_RATE))
    # Eight bits less, so that the sums of the next filter stay exact.
    at_rate = to_20_bits(np.stack([resample(one >> 8, espeak.SAMPLE_RATE, SAMPLE_RATE, SPEECH_HZ) for one in banded]))
    gains = np.array([clip.power * SAMPLES for clip in clips]) / energy(at_rate)
    return np.sqrt(gains)[:, None] * at_rate


def _noise(clips: list[_Clip]) -> NDArray[np.float64]:
    """Band noise on the white floor, together at the clip's SNR: (clip, SAMPLES)."""
    low, high = NOISE_HZ
    taps = band_pass(_NOISE_TAPS, low + _EDGE_HZ, high - _EDGE_HZ, SAMPLE_RATE)
    band = to_20_bits(convolve(np.stack([clip.noise for clip in clips]), taps))
    floor = np.stack([clip.floor for clip in clips])
    level = math.sqrt(FLOOR_POWER) / NORMAL_STD
    wanted = np.array([clip.power * SAMPLES / clip.snr for clip in clips])
    # The gain g for which sum (g band + floor)^2 is what is wanted.
    a, b, c = energy(band), (band * floor).sum(1) * level, energy(floor) * level**2 - wanted
    gain = (np.sqrt(b * b - a * c) - b) / a
    return gain[:, None] * band + level * floor
