"""Features of music: folders read at once against the exercise's loop over single blocks, decoding included."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from side_by_side import interleave, ratio
from speechml.music.features import COLUMNS
from speechml.music.recordings import BLOCK_S, read_rows
from speechml.process import keep_memory

RATE = 44100


def run(quick: bool) -> None:
    """Print times, ratios and differences for a wav and an mp3 file, on one core."""
    torch.set_num_threads(1)
    keep_memory()  # as every process that reads music does; the loop's arrays gain by it too
    seconds, rounds = (20, 3) if quick else (60, 5)
    print(
        f"{seconds} s of stereo at {RATE} Hz on one core; medians of {rounds} rounds side by side; x: times real time."
    )
    print(f"{'':8}{'way':20}{'time':>9}{'x':>7}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("wav", "mp3"):
            path = Path(folder) / f"music_0.{kind}"
            write(path, seconds)
            _table(kind, path, seconds, rounds)


def write(path: Path, seconds: float) -> None:
    """Chords with a beat of noise, the noise falling by 3 dB an octave as in music; left and right differ a little."""
    random = np.random.default_rng(0)
    count = round(seconds * RATE)
    t = np.arange(count) / RATE
    spectrum = np.fft.rfft(random.standard_normal((2, count)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, spectrum.shape[1] + 1)), count)
    beat = 0.1 + np.exp(-8 * (t % 0.5))
    chords = sum(np.sin(2 * np.pi * hz * t) for hz in (110.0, 277.2, 440.0, 659.3))
    music = pink / np.abs(pink).max() * beat + 0.08 * chords
    with soundfile.SoundFile(path, "w", RATE, 2) as file:  # in pieces: libsndfile's coders fail on very long ones
        for piece in np.array_split(np.clip(0.9 * music, -1, 1).T, count // 4096):
            file.write(piece)


def loop(samples: np.ndarray, rate: int) -> np.ndarray:
    """The exercise's way with samples (time, channel): one block and channel after the other."""
    import pyloudnorm
    from scipy.signal import resample

    length = round(BLOCK_S * rate)
    meter = pyloudnorm.Meter(rate, filter_class="DeMan")
    hz = np.fft.rfftfreq(length, 1 / rate)
    low, high = (hz > 0) & (hz < 1000), hz >= 1000
    rows = []
    for channel in range(samples.shape[1]):
        for begin in range(0, len(samples) - length + 1, length):
            block = samples[begin : begin + length, channel]
            square = np.mean(block**2)
            if square <= (10 ** (-80 / 20)) ** 2:
                continue
            rms = np.sqrt(square)
            peak = np.max(np.abs(resample(block, 4 * length)))
            loudness = meter.integrated_loudness(block)
            energy = np.abs(np.fft.rfft(block)) ** 2
            rows.append([
                peak, peak**2, 20 * np.log10(peak), square, rms, 20 * np.log10(rms), 10 ** (loudness / 20),
                10 ** (loudness / 10), max(loudness, -70), peak / rms, 20 * np.log10(peak / rms),
                energy[low].sum() / energy[high].sum(),
            ])  # fmt: skip
    return np.array(rows)


def _table(kind: str, path: Path, seconds: float, rounds: int) -> None:
    ways: dict[str, Callable[[], object]] = {
        "loop over blocks": lambda: loop(soundfile.read(path, always_2d=True)[0], RATE),
        "speechml": lambda: read_rows(path),
        "decoding alone": lambda: soundfile.read(path, always_2d=True),
    }
    interleave(ways, 1, 0)  # fills caches
    times = interleave(ways, rounds, float("inf"))
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(
            f"{kind:8}{name:20}{1e3 * middle:6.0f} ms{seconds / middle:7.0f}{ratio(times, 'loop over blocks', name):7.2f}"
        )
    ours, theirs = read_rows(path).features, loop(soundfile.read(path, always_2d=True)[0], RATE)
    db = np.array([name.endswith("db") for name in COLUMNS])
    difference = np.abs(ours - theirs) / np.where(db, 1.0, np.abs(theirs))
    print(
        f"{kind:8}largest difference: {difference[:, db].max():.1e} dB, elsewhere {difference[:, ~db].max():.1e} of the value"
    )
