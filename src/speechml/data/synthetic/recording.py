"""Stand-in for the recordings of ENGR-E 533's homework 2: one voice that talks for over a minute beside a crackling bag."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

from speechml.storage import audio
from speechml.storage.files import build_once
from speechml.storage.pack import fingerprint

RECIPE = 1  # raise it when the samples below become others
SAMPLE_RATE = 16000  # Hz, the course's
SECONDS = {"train": 80.0, "test_x_01": 4.5, "test_x_02": 12.0}  # about the course's: 78.7, 4.5, 12.1
SNR_DB = 6.5  # the course's training file: 6.51
CLEAN_RMS = 0.016  # full scale being 1: the course's
VOICE = "en+m3"
PAUSE_S = 0.4  # between sentences, chosen here
# Crackling, chosen to resemble chips being eaten: bites of some tenths of a second, each of many short bursts.
BITES_PER_S, BITE_S, BURSTS_PER_BITE = 1.5, 0.35, 40
BURST_S = (0.001, 0.008)  # time constants of the bursts' decay
BAND_HZ = (300, 7500)


def stand_in(cache: Path) -> Path:
    """A folder with the course's file names, made in seconds when it is first asked for."""
    name = f"recording-{fingerprint(RECIPE, version('espeakng-loader'), version('numpy'))}"
    return build_once(cache / "recordings" / name, lambda folder: (folder / "whole").is_file(), make)


def make(folder: Path) -> None:
    """Write the training pair and two noisy test recordings."""
    for number, (name, seconds) in enumerate(SECONDS.items()):
        clean = spoken(seconds, number)
        noise = crackling(len(clean), number)
        noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2) / 10 ** (SNR_DB / 10))
        audio.save(folder / ("train_dirty_male.wav" if name == "train" else f"{name}.wav"), clean + noise, SAMPLE_RATE)
        if name == "train":
            audio.save(folder / "train_clean_male.wav", clean, SAMPLE_RATE)
    (folder / "whole").touch()


def spoken(seconds: float, number: int) -> NDArray[np.float32]:
    """Sentences of one voice with pauses, float32 (time,) at SAMPLE_RATE and CLEAN_RMS."""
    from speechml.data.synthetic import espeak
    from speechml.data.synthetic.pairs import sentence

    random = np.random.default_rng([RECIPE, number])
    parts: list[NDArray[np.float32]] = []
    while sum(len(p) for p in parts) < seconds * SAMPLE_RATE:
        rate, pitch = int(random.integers(140, 190)), int(random.integers(40, 60))
        said = espeak.say(sentence(random), VOICE, rate, pitch, 50).astype(np.float32)
        parts += [
            soxr.resample(said, espeak.SAMPLE_RATE, SAMPLE_RATE),
            np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32),
        ]
    waveform = np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]
    return (waveform * (CLEAN_RMS / np.sqrt(np.mean(waveform**2)))).astype(np.float32)


def crackling(samples: int, number: int) -> NDArray[np.float32]:
    """Bites of short decaying bursts in BAND_HZ, float32 (samples,) of no particular level."""
    random = np.random.default_rng([RECIPE, number, 1])
    impulses = np.zeros(samples + SAMPLE_RATE, np.float32)
    for _ in range(round(samples / SAMPLE_RATE * BITES_PER_S)):
        bite = random.integers(samples)
        strength = random.lognormal(0.0, 0.7)
        for offset in random.exponential(BITE_S / 3, BURSTS_PER_BITE):
            begin = bite + round(min(offset, BITE_S) * SAMPLE_RATE)
            decay = random.uniform(*BURST_S) * SAMPLE_RATE
            burst = np.exp(-np.arange(round(5 * decay)) / decay) * random.standard_normal(round(5 * decay))
            stretch = impulses[begin : begin + len(burst)]
            stretch += (strength * random.lognormal(0.0, 0.8) * burst[: len(stretch)]).astype(np.float32)
    band = signal.butter(2, BAND_HZ, "bandpass", fs=SAMPLE_RATE, output="sos")
    filtered: NDArray[np.float32] = signal.sosfilt(band, impulses)[:samples].astype(np.float32)
    return filtered
