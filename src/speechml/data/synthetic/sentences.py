"""Clean speech of many voices at 16 kHz: what `data=spoken_mixtures` puts into noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from speechml.data.synthetic import espeak
from speechml.data.synthetic.exact import UNIT, Draws, Whole, amplitude, energy, resample
from speechml.data.synthetic.noises import SAMPLE_RATE, cast_voices
from speechml.data.synthetic.pairs import sentence
from speechml.storage.pack import Recording

SECONDS = 3.0  # of a recording: two sentences, the second mostly cut off, chosen here
LEAD = (1600, 6400)  # samples before the first word
LEVEL = (-3200, -2000)  # RMS in 0.01 dB of full scale, uniform
KEPT_HZ = 0.45 * SAMPLE_RATE


def sentences(count: int) -> Iterator[Recording]:
    """Say sentences with the speakers of `cast_voices` in turn; one depends on its own number alone. Shape: (time,), int16."""
    voices = cast_voices().speakers
    for number in range(count):
        draws = Draws(4, number)
        voice = voices[number % len(voices)]
        text = f"{sentence(draws)}. {sentence(draws)}."
        rate, pitch, pitch_range = (draws.integer(low, high) for low, high in ((140, 201), (30, 71), (30, 71)))
        said = espeak.say(text, voice, rate, pitch, pitch_range).astype(np.int64)
        samples = at_level(_placed(said, draws), draws.integer(*LEVEL))
        yield Recording(f"{number:04d}_{voice.replace('+', '_')}", {"samples": samples.astype(np.int16)}, voice)
    espeak.release()


def _placed(said: Whole, draws: Draws) -> Whole:
    """What was said at SAMPLE_RATE, behind a short silence, cut to SECONDS."""
    speech = resample(said, espeak.SAMPLE_RATE, SAMPLE_RATE, KEPT_HZ) // UNIT
    begin = np.flatnonzero(50 * np.abs(speech) > np.abs(speech).max())[0]
    placed = np.pad(speech[begin:], (draws.integer(*LEAD), 0))[: round(SECONDS * SAMPLE_RATE)]
    return np.pad(placed, (0, round(SECONDS * SAMPLE_RATE) - len(placed)))


def at_level(samples: Whole, level: int) -> Whole:
    """Samples at an RMS in 0.01 dB of full scale, of 16 bits."""
    gain = 32768 * amplitude(level) * np.sqrt(len(samples) / float(energy(samples)))
    return np.clip(np.rint(gain * samples), -32768, 32767).astype(np.int64)
