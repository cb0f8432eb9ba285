"""Arithmetic whose results are the same bits on every machine and with every version of numpy and scipy.

Random numbers, filters and resampling are computed on whole numbers. Fast Fourier transforms and matrix products in float64
serve them where every sum stays so small that rounding cannot reach the next whole number; what is left is multiplication,
division and square root of single numbers, which IEEE 754 defines to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Whole = NDArray[np.int64]
Item = TypeVar("Item")
UNIT = 1 << 20  # what a filter's taps stand for 1 by: the rounding of 12,000 taps stops 90 dB
NORMAL_STD = math.sqrt(4 / 12) * 65536  # of `Draws.normal`
_DECIMAL = Context(prec=28)
_SAFE = 2**50  # below, sums in float64 are whole numbers, exactly
# splitmix64, see signal.random.
_INCREMENT, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Draws:
    """A sequence of random numbers that a key of whole numbers decides: splitmix64."""

    def __init__(self, *key: int) -> None:
        self.state = 0
        for part in key:
            self.state = int(_mix(np.array([(self.state ^ (part + 1)) * _INCREMENT % 2**64], np.uint64))[0])

    def words(self, count: int) -> NDArray[np.uint64]:
        """Numbers of 64 random bits. Shape: (count,)."""
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_INCREMENT) + np.uint64(self.state)
        self.state = (self.state + count * _INCREMENT) % 2**64
        return _mix(steps)

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high` - 1."""
        return low + (int(self.words(1)[0]) * (high - low) >> 64)

    def choice(self, items: Sequence[Item]) -> Item:
        """One of some items."""
        return items[self.integer(0, len(items))]

    def normal(self, count: int) -> Whole:
        """Numbers with mean 0 and deviation NORMAL_STD, sums of four uniform ones: nearly normal. Shape: (count,)."""
        quarters = self.words(count).astype("<u8").view("<u2").reshape(count, 4)
        return quarters.sum(1, dtype=np.int64) - 2 * 65535


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        words = (words ^ words >> np.uint64(shift)) * np.uint64(factor)
    return words ^ words >> np.uint64(31)


def amplitude(millibels: int) -> float:
    """A level in hundredths of a dB as a factor of amplitude, 10^(dB / 20)."""
    return float(_DECIMAL.power(Decimal(10), _DECIMAL.divide(Decimal(millibels), Decimal(2000))))


def power(millibels: int) -> float:
    """A level in hundredths of a dB as a factor of power, 10^(dB / 10)."""
    return float(_DECIMAL.power(Decimal(10), _DECIMAL.divide(Decimal(millibels), Decimal(1000))))


def exponential(draws: Draws) -> float:
    """A number with exponential distribution and mean 1."""
    return float(-_DECIMAL.ln(Decimal(draws.integer(1, 2**53)) / 2**53))


def energy(values: Whole) -> NDArray[np.float64]:
    """Sums of squares over time, of values of at most 20 bits. Shape: (..., time) -> (...)."""
    return np.square(values).sum(-1).astype(np.float64)


def to_20_bits(values: Whole) -> Whole:
    """Values divided by a power of two, each row by its own, so that their squares can be added up. Shape: (..., time)."""
    peaks = np.abs(values).max(-1, keepdims=True)
    shifts = np.array([max(0, int(peak).bit_length() - 20) for peak in peaks.flat]).reshape(peaks.shape)
    return values >> shifts


@cache
def low_pass(taps: int, hz: float, rate: float) -> Whole:
    """A linear-phase low-pass filter, half its gain at `hz`, stopping 80 dB: a sinc in Kaiser's window. Shape: (taps,).

    Its transition is about 5 / taps of the rate wide. The rounding to whole numbers is not close (a test looks).
    """
    return np.rint(_low_pass(taps, hz, rate)).astype(np.int64)


def _low_pass(taps: int, hz: float, rate: float) -> NDArray[np.float64]:
    window = np.kaiser(taps, 7.857)  # Kaiser's 0.1102 (80 - 8.7)
    sinc = np.sinc(2 * hz / rate * (np.arange(taps) - (taps - 1) / 2)) * window
    return sinc * (UNIT / sinc.sum())


def band_pass(taps: int, low_hz: float, high_hz: float, rate: float) -> Whole:
    """The difference of two low-pass filters. Shape: (taps,)."""
    return low_pass(taps, high_hz, rate) - low_pass(taps, low_hz, rate)


def convolve(signals: Whole, taps: Whole) -> Whole:
    """Signals through a filter, where it lies within them; gain UNIT. Shape: (..., time) -> (..., time - taps + 1).

    Raises:
        ValueError: sums that float64 does not hold to the unit.
    """
    # The error of a transform is some 1e-15 of the product of both norms: far below a half.
    norms = math.sqrt(float(np.square(signals, dtype=np.float64).sum(-1).max())) * math.sqrt(
        float(np.square(taps).sum())
    )
    if norms > 2**44:
        raise ValueError(f"values up to {np.abs(signals).max()} are too large for an exact transform")
    time = signals.shape[-1]
    size = fft.next_fast_len(time, real=True)  # what wraps around falls into what is cut off
    spectrum = fft.rfft(signals.astype(np.float64), size, workers=-1) * fft.rfft(taps.astype(np.float64), size)
    whole = fft.irfft(spectrum, size, workers=-1)[..., len(taps) - 1 : time]
    return np.rint(whole).astype(np.int64)


def resample(signal: Whole, rate: int, new_rate: int, pass_hz: float) -> Whole:
    """A signal at another rate (Hz), its ends against silence; gain UNIT. Shape: (time,) -> (time * new_rate // rate,).

    Args:
        pass_hz: what is kept; from the mirror image of it, in the lower of both rates, all is gone.

    Raises:
        ValueError: sums that float64 does not hold to the unit.
    """
    offsets, phases, kernel = _polyphase(rate, new_rate, pass_hz)
    reach, count = kernel.shape[1], len(signal) * new_rate // rate
    if int(np.abs(signal).max(initial=0)) * int(np.abs(kernel).sum(1).max()) > _SAFE:
        raise ValueError("the samples are too large to be resampled exactly")
    padded = np.pad(signal, (reach, reach)).astype(np.float64)
    step, period = rate // math.gcd(rate, new_rate), len(phases)
    out = np.empty(-(-count // period) * period, np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(padded, (0, step + reach)), reach)
    for phase in range(period):  # all samples that lie alike between those of the signal
        first = offsets[phase] + reach // 2 + 1
        rows = windows[first::step][: len(out) // period]
        out[phase::period][: len(rows)] = rows @ kernel[phases[phase]]
    return out[:count].astype(np.int64)


@cache
def _polyphase(rate: int, new_rate: int, pass_hz: float) -> tuple[list[int], list[int], NDArray[np.float64]]:
    """Where each sample of a period lies in the signal, its phase, and the taps of each phase. Shape: (phases, taps)."""
    common = math.gcd(rate, new_rate)
    up, down = new_rate // common, rate // common
    lower = min(rate, new_rate)
    width = lower - 2 * pass_hz  # of the transition
    reach = 2 * math.ceil(2.5 * rate / width)
    prototype = up * _low_pass(reach * up + 1, lower / 2, rate * up)[:-1]
    # Tap k of phase p is the prototype at the distance of sample k from the place p / up between two samples.
    kernel = np.rint(prototype.reshape(reach, up).T[:, ::-1])
    places = [place * down for place in range(up)]
    return [place // up for place in places], [place % up for place in places], kernel
