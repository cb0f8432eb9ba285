"""Stand-in for the recordings of ENGR-E 533's homework 2: one voice that talks for over a minute beside a crackling bag."""

from __future__ import annotations

import math
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soundfile

from speechml.data.schema import SPOKEN_RECIPE
from speechml.data.synthetic.exact import (
    UNIT,
    Draws,
    Whole,
    amplitude,
    band_pass,
    convolve,
    energy,
    exponential,
    power,
    resample,
    to_20_bits,
)  # fmt: skip
from speechml.storage.building import build_once
from speechml.storage.pack import fingerprint

RECIPE = SPOKEN_RECIPE
SAMPLE_RATE = 16000  # Hz, the course's
SECONDS = {"train": 80.0, "test_x_01": 4.5, "test_x_02": 12.0}  # about the course's: 78.7, 4.5, 12.1
SNR = 650  # in 0.01 dB; the course's training file: 6.51
CLEAN_RMS = 0.016  # full scale being 1: the course's
VOICE = "en+m3"
PAUSE_S = 0.4  # between sentences, chosen here
# Crackling, chosen to resemble chips being eaten: bites of some tenths of a second, each of many short bursts.
BITES_PER_S, BITE_S, BURSTS_PER_BITE = 1.5, 0.35, 40
BURST = (16, 128)  # samples, 1 to 8 ms: time constants of the bursts' decay
BAND_HZ = (300.0, 7500.0)
_TAPS = 801  # transitions of 100 Hz


def stand_in(cache: Path) -> Path:
    """A folder with the course's file names, made in seconds when it is first asked for."""
    name = f"recording-{fingerprint(RECIPE, version('espeakng-loader'))}"
    return build_once(cache / "recordings" / name, lambda folder: (folder / "whole").is_file(), make)


def make(folder: Path) -> None:
    """Write the training pair and two noisy test recordings, of 16 bits."""
    from speechml.data.synthetic import espeak

    for number, (name, seconds) in enumerate(SECONDS.items()):
        clean, noise = spoken(seconds, number), to_20_bits(crackling(round(seconds * SAMPLE_RATE), number))
        gain = math.sqrt(float(energy(clean)) / float(energy(noise)) / power(SNR))
        noisy = clean + np.rint(gain * noise).astype(np.int64)
        write(folder / ("train_dirty_male.wav" if name == "train" else f"{name}.wav"), noisy)
        if name == "train":
            write(folder / "train_clean_male.wav", clean)
    espeak.release()
    (folder / "whole").touch()


def write(path: Path, samples: Whole) -> None:
    """Write samples as they are."""
    soundfile.write(str(path), np.clip(samples, -32768, 32767).astype(np.int16), SAMPLE_RATE, "PCM_16")


def spoken(seconds: float, number: int) -> Whole:
    """Sentences of one voice with pauses, 16 bits (time,) at SAMPLE_RATE and CLEAN_RMS."""
    from speechml.data.synthetic import espeak
    from speechml.data.synthetic.pairs import sentence

    draws = Draws(RECIPE, number)
    parts: list[Whole] = []
    while sum(len(part) for part in parts) < seconds * SAMPLE_RATE:
        rate, pitch = draws.integer(140, 190), draws.integer(40, 60)
        said = espeak.say(sentence(draws), VOICE, rate, pitch, 50).astype(np.int64)
        speech = resample(said, espeak.SAMPLE_RATE, SAMPLE_RATE, 0.45 * SAMPLE_RATE)
        parts += [speech // UNIT, np.zeros(round(PAUSE_S * SAMPLE_RATE), np.int64)]
    waveform = to_20_bits(np.concatenate(parts)[: round(seconds * SAMPLE_RATE)])
    gain = 32768 * CLEAN_RMS * math.sqrt(len(waveform) / float(energy(waveform)))
    return np.rint(gain * waveform).astype(np.int64)


def crackling(samples: int, number: int) -> Whole:
    """Bites of short decaying bursts in BAND_HZ, (samples,) of no particular level."""
    draws = Draws(RECIPE, number, 1)
    impulses = np.zeros(samples + SAMPLE_RATE + _TAPS, np.int64)
    for _ in range(round(samples / SAMPLE_RATE * BITES_PER_S)):
        bite, strength = draws.integer(0, samples), loudness(draws, 600)
        for _ in range(BURSTS_PER_BITE):
            offset = min(exponential(draws) * BITE_S / 3, BITE_S)
            envelope = decay(draws.integer(*BURST))
            burst = envelope * draws.normal(len(envelope)) >> 16
            begin = bite + int(offset * SAMPLE_RATE)
            stretch = impulses[begin : begin + len(burst)]
            stretch += burst[: len(stretch)] * int(256 * strength * loudness(draws, 700)) >> 8
    return convolve(to_20_bits(impulses) >> 4, band_pass(_TAPS, *BAND_HZ, SAMPLE_RATE))[:samples]


def loudness(draws: Draws, deviation: int) -> float:
    """A random factor of amplitude, nearly normal in dB; `deviation` in 0.01 dB."""
    return amplitude(int(draws.normal(1)[0]) * deviation // 37837)


@cache
def decay(samples: int) -> Whole:
    """An exponential from 2^15 on that falls to 1/e in so many samples, five times as long."""
    level, values = 1 << 31, []
    for _ in range(5 * samples):
        values.append(level >> 16)
        level -= level // samples
    return np.array(values)
