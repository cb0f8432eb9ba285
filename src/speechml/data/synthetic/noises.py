"""Noise of many kinds, made from nothing: what speech is mixed with in `data=spoken_mixtures`.

A kind is a sum of layers: hiss in a band, ticks and bursts, a train of pulses as of an engine, people who talk. All figures
are chosen here, to resemble what the kind is called by. No kind is in two splits; those who talk in training do not talk in
validation and test.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechml.data.synthetic import espeak
from speechml.data.synthetic.exact import (
    Draws,
    Whole,
    amplitude,
    band_pass,
    convolve,
    energy,
    low_pass,
    power,
    resample,
    to_20_bits,
)  # fmt: skip
from speechml.data.synthetic.recording import crackling, decay, loudness

SAMPLE_RATE = 16000  # Hz
RMS = 1500  # of every recording, 27 dB below full scale; the few peaks beyond it are cut
# Whispers, robots and others of whose loud frames of 46 ms most have no pitch (autocorrelation below 0.5).
PITCHLESS = re.compile("whisper|croak|caleb|announcer|klatt|Demonic|Storm|Robot|robosoft|Tweaky")
COLOUR = (
    500  # in 0.01 dB: each octave of a recording is louder or softer by up to this, as rooms and microphones differ
)
BALANCE = 400  # in 0.01 dB: so is each of its layers
_TAPS = 801  # transitions of 100 Hz
_PULSE = 1 << 15
_LEVEL = 1 << 14  # RMS of a layer of 0 dB, before they are added


class Layer(NamedTuple):
    """make: from random numbers and samples to a sound (samples,) of any level. level: in 0.01 dB, of its RMS."""

    make: Callable[[Draws, int], Whole]
    level: int = 0


def hiss(draws: Draws, samples: int, low_hz: float, high_hz: float, fall: int = 300) -> Whole:
    """Noise in a band whose density falls with frequency: 0.01 dB an octave, 0 of white, 300 of pink, 600 of brown noise."""
    return convolve(to_20_bits(draws.normal(samples + _TAPS - 1)) >> 4, _sloping(low_hz, high_hz, fall))


@cache
def _sloping(low_hz: float, high_hz: float, fall: int) -> Whole:
    """A filter of half octaves, each at its own level. Shape: (_TAPS,)."""
    if not fall:
        return _band(low_hz, high_hz)
    taps: NDArray[np.float64] = np.zeros(_TAPS)
    edge, level = max(low_hz, 60.0), 0
    bands = [(low_hz, min(edge * 1.5, high_hz))]
    while bands[-1][1] < high_hz:
        bands.append((bands[-1][1], min(bands[-1][1] * 1.5, high_hz)))
    for low, high in bands:
        taps = taps + amplitude(level) * _band(low, high)
        level -= fall * 585 // 1000  # log2(1.5) of an octave
    return np.rint(taps).astype(np.int64)


def _band(low_hz: float, high_hz: float) -> Whole:
    return band_pass(_TAPS, low_hz, high_hz, SAMPLE_RATE) if low_hz else low_pass(_TAPS, high_hz, SAMPLE_RATE)


def swell(draws: Draws, samples: int, make: Callable[[Draws, int], Whole], period_s: float, floor: int = 0) -> Whole:
    """A sound that rises and falls between `floor` (of 256) and 256, to another height each period."""
    step = round(period_s * SAMPLE_RATE)
    heights = np.array([draws.integer(floor, 257) for _ in range(samples // step + 2)], np.int64)
    rise = np.arange(step, dtype=np.int64)
    envelope: Whole = ((heights[:-1, None] * (step - rise) + heights[1:, None] * rise) // step).reshape(-1)[:samples]
    swelling: Whole = to_20_bits(make(draws, samples)) * envelope >> 8
    return swelling


def bursts(
    draws: Draws, samples: int, per_s: float, decay_ms: tuple[float, float], low_hz: float, high_hz: float
) -> Whole:
    """Short decaying bursts of noise at random moments."""
    total = samples + _TAPS - 1
    sound: Whole = np.zeros(total, np.int64)
    low, high = (round(ms * SAMPLE_RATE / 1000) for ms in decay_ms)
    for _ in range(round(total / SAMPLE_RATE * per_s)):
        begin, envelope = draws.integer(0, total), decay(draws.integer(low, high + 1))
        stretch = sound[begin : begin + len(envelope)]
        burst = envelope * draws.normal(len(envelope)) >> 16
        stretch += burst[: len(stretch)] * int(256 * loudness(draws, 600)) >> 8
    return _banded(sound, low_hz, high_hz)


def pulses(
    draws: Draws, samples: int, hz: tuple[float, float], turn_s: float, low_hz: float, high_hz: float, rest: int = 0
) -> Whole:
    """A train of pulses, so all multiples of a frequency in a band, another each turn; `rest` of 256 turns are silent."""
    total = samples + _TAPS - 1
    sound = np.zeros(total, np.int64)
    shortest, longest = SAMPLE_RATE / hz[1], SAMPLE_RATE / hz[0]
    place = draws.integer(0, round(longest))
    while place < total:
        period = draws.integer(round(256 * shortest), round(256 * longest) + 1)
        end = place + round(turn_s * SAMPLE_RATE)
        if draws.integer(0, 256) >= rest:
            sound[np.arange(place * 256, min(end, total) * 256, period) >> 8] = _PULSE
        place = end
    return _banded(sound, low_hz, high_hz)


def talk(draws: Draws, samples: int, part: int, people: int) -> Whole:
    """People who talk all at once, all the time, with the voices of one of the two parts of `Cast.aside`."""
    from speechml.data.synthetic.pairs import sentence

    sound = np.zeros(samples, np.int64)
    voices = cast_voices().aside[part]
    for _ in range(people):
        voice, place = draws.choice(voices), -draws.integer(0, SAMPLE_RATE)
        while place < samples:
            said = espeak.say(sentence(draws), voice, draws.integer(140, 201), draws.integer(30, 71)).astype(np.int64)
            speech = to_20_bits(resample(said, espeak.SAMPLE_RATE, SAMPLE_RATE, 0.45 * SAMPLE_RATE)) >> 4
            stretch = sound[max(place, 0) : place + len(speech)]
            stretch += speech[max(-place, 0) :][: len(stretch)]
            place += len(speech)
    return sound


class Cast(NamedTuple):
    """Voices: those that speak, and those that only talk in the background, of training and of validation and test."""

    speakers: list[str]
    aside: tuple[list[str], list[str]]


def cast_voices() -> Cast:
    """Give each voice its part; whispers and robots have none, and versions of one speaker have the same."""
    from speechml.data.splits import voice_speaker

    voices = [voice for voice in espeak.one_voice_a_speaker() if not PITCHLESS.search(voice)]
    people = sorted({voice_speaker(voice) for voice in voices})
    aside = [[voice for voice in voices if voice_speaker(voice) in people[first::16]] for first in (0, 8)]
    return Cast([voice for voice in voices if voice not in aside[0] + aside[1]], (aside[0], aside[1]))


def _crackle(draws: Draws, samples: int) -> Whole:
    return crackling(samples, draws.integer(1, 1 << 30))


def _banded(sound: Whole, low_hz: float, high_hz: float, fall: int = 300) -> Whole:
    return convolve(to_20_bits(sound) >> 4, _sloping(low_hz, high_hz, fall))  # minutes of it stay exact


def _hiss(low_hz: float, high_hz: float, fall: int = 300) -> Callable[[Draws, int], Whole]:
    return partial(hiss, low_hz=low_hz, high_hz=high_hz, fall=fall)


def _swell(
    low_hz: float, high_hz: float, period_s: float, floor: int = 0, fall: int = 300
) -> Callable[[Draws, int], Whole]:
    return partial(swell, make=_hiss(low_hz, high_hz, fall), period_s=period_s, floor=floor)


def _bursts(
    per_s: float, decay_ms: tuple[float, float], low_hz: float, high_hz: float
) -> Callable[[Draws, int], Whole]:
    return partial(bursts, per_s=per_s, decay_ms=decay_ms, low_hz=low_hz, high_hz=high_hz)


def _pulses(
    hz: tuple[float, float], turn_s: float, low_hz: float, high_hz: float, rest: int = 0
) -> Callable[[Draws, int], Whole]:
    return partial(pulses, hz=hz, turn_s=turn_s, low_hz=low_hz, high_hz=high_hz, rest=rest)


def _talk(part: int, people: int) -> Callable[[Draws, int], Whole]:
    return partial(talk, part=part, people=people)


KINDS: dict[str, dict[str, Sequence[Layer]]] = {
    "train": {
        "white": [Layer(_hiss(0, 7900, 0))],
        "pink": [Layer(_hiss(0, 7900, 300))],
        "brown": [Layer(_hiss(0, 7900, 600))],
        "ventilation": [Layer(_hiss(60, 7000, 650)), Layer(_pulses((85, 110), 60, 0, 900), -600)],
        "mains_hum": [Layer(_pulses((100, 100), 60, 0, 2500)), Layer(_hiss(0, 7900, 500), -600)],
        "car": [Layer(_hiss(0, 7000, 900)), Layer(_pulses((28, 60), 2.0, 0, 600), -500)],
        "engine": [Layer(_pulses((28, 60), 0.7, 0, 1500)), Layer(_swell(60, 6000, 0.7, 64, 600), -300)],
        "wind": [Layer(_swell(0, 4000, 0.6, 0, 800))],
        "rain": [Layer(_bursts(300, (0.5, 3), 400, 7500)), Layer(_hiss(60, 7900, 450))],
        "typing": [Layer(_bursts(9, (2, 9), 300, 6500)), Layer(_hiss(0, 7000, 700), 0)],
        "crackle": [Layer(_crackle), Layer(_hiss(0, 7000, 600), -300)],
        "office": [Layer(_talk(0, 5)), Layer(_hiss(0, 7000, 700), 0)],
        "crowd": [Layer(_talk(0, 12))],
        "melody": [Layer(_pulses((190, 520), 0.25, 150, 3000, 40)), Layer(_pulses((80, 160), 0.5, 0, 1500), -300)],
        "beeps": [Layer(_pulses((700, 1400), 0.2, 600, 4500, 128)), Layer(_hiss(0, 7000, 650), 300)],
        "railway": [Layer(_swell(0, 7000, 0.35, 100, 700)), Layer(_bursts(4, (10, 30), 100, 3000), -300)],
        "motorway": [Layer(_swell(0, 7000, 1.3, 90, 600))],
    },
    "val": {
        "lorry": [Layer(_hiss(0, 7000, 750)), Layer(_pulses((35, 50), 1.0, 0, 1000), -300)],
        "kitchen": [Layer(_bursts(5, (15, 60), 500, 7500)), Layer(_hiss(0, 7000, 700), 300)],
        "waiting_room": [Layer(_talk(1, 6)), Layer(_swell(0, 6000, 1.5, 64, 700), 300)],
        "hair_dryer": [Layer(_hiss(150, 7000, 450)), Layer(_pulses((230, 260), 60, 200, 4000), -600)],
    },
    "test": {
        "vacuum_cleaner": [Layer(_hiss(100, 7000, 500)), Layer(_pulses((150, 190), 2.5, 100, 5000), -300)],
        "sea": [Layer(_swell(50, 7000, 1.7, 20, 500))],
        "street": [Layer(_swell(0, 7000, 1.1, 60, 700)), Layer(_pulses((40, 75), 1.5, 0, 1200), -400)],
        "workshop": [Layer(_bursts(7, (4, 25), 200, 5000)), Layer(_hiss(0, 7000, 700), 300)],
        "cafe": [Layer(_talk(1, 8)), Layer(_bursts(3, (8, 40), 800, 7000), -900), Layer(_hiss(0, 7000, 700), 200)],
    },
}  # fmt: skip


def noise(split: str, kind: str, seconds: float, number: int) -> Whole:
    """A recording of a kind of noise at SAMPLE_RATE, of 16 bits; others with other numbers. Shape: (time,)."""
    samples = round(seconds * SAMPLE_RATE) + _TAPS - 1
    total: NDArray[np.float64] = np.zeros(samples)
    draws = Draws(3, number)
    for place, layer in enumerate(KINDS[split][kind]):
        sound = to_20_bits(layer.make(Draws(3, number, place), samples))
        level = layer.level + draws.integer(-BALANCE, BALANCE + 1)
        total += _LEVEL * math.sqrt(power(level) * samples / max(float(energy(sound)), 1.0)) * sound
    whole = to_20_bits(convolve(to_20_bits(np.rint(total).astype(np.int64)) >> 4, _colour(draws)))
    gain = RMS * math.sqrt(len(whole) / float(energy(whole)))
    return np.clip(np.rint(gain * whole), -32768, 32767).astype(np.int64)


def _colour(draws: Draws) -> Whole:
    """An equaliser with a random gain in each octave. Shape: (_TAPS,)."""
    edges = (0, 125, 250, 500, 1000, 2000, 4000, 7900)
    bands = [amplitude(draws.integer(-COLOUR, COLOUR + 1)) * _band(low, high) for low, high in pairwise(edges)]
    return np.rint(np.sum(bands, 0)).astype(np.int64)
