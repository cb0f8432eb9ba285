"""Hand-made features of music: true peak, level, loudness and the balance of low and high, one row a block of samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS and LU, of ITU-R BS.1770-4
SILENCE = (10 ** (-80 / 20)) ** 2  # mean square, of DDASP exercise 12
QUIETEST = 1e-10  # -200 dB stands for the level of nothing
FAINTEST = 1e-12  # a side with less than this share (-120 dB) of a block's energy is taken to hold just that much
SPLIT_HZ = 1000.0  # between low and high
ROWS = 16  # computed at once: their transforms stay in the cache
COLUMNS = (
    "true_peak_lin", "true_peak_lin2", "true_peak_db", "rms_lin2", "rms_lin", "rms_db",
    "lufs_lin", "lufs_lin2", "lufs_db", "crest_lin", "crest_db", "low_high_ratio",
)  # fmt: skip


def music_features(blocks: Tensor, rate: int) -> Tensor:
    """The features of DDASP exercise 12 in the order of COLUMNS, finite for all finite samples.

    Decibels are floored at -200, loudness in LUFS at -70 (of its linear forms, nothing is left where all is gated), and
    silence has a crest factor of 1.

    Shape: (block, time) -> (block, 12), float64.
    """
    if not len(blocks):  # which no Fourier transform takes
        return torch.zeros(0, len(COLUMNS), dtype=torch.float64)
    return torch.cat([_features(some.double(), rate) for some in blocks.split(ROWS)])


def _features(blocks: Tensor, rate: int) -> Tensor:
    spectrum = torch.fft.rfft(blocks)
    peak, square = _true_peak(blocks, spectrum), _energy(blocks) / blocks.shape[1]
    loudness = _loudness(blocks, rate)
    rms = square.sqrt()
    crest = torch.where(rms > 0, peak / rms, 1.0)
    return torch.stack(
        (
            peak, peak.square(), _db(peak), square, rms, _db(rms), 10 ** (loudness / 20), 10 ** (loudness / 10),
            loudness.clamp(min=ABSOLUTE_GATE), crest, _db(crest), _low_high(spectrum, blocks.shape[1], rate),
        ),
        dim=1,
    )  # fmt: skip


def _loudness(blocks: Tensor, rate: int) -> Tensor:
    """Loudness in LUFS of each block as a recording of its own, by ITU-R BS.1770-4; -inf where all of it is gated.

    The filters of pyloudnorm's class DeMan are the standard's at 48 kHz to eight digits; its default class, which the
    exercise takes, and torchaudio read a sine of 997 Hz 0.04 dB too low. Its meter takes one block after the other, filter
    by filter: 33 ms for 80 blocks of half a second, where this takes 15 (one core).
    """
    from pyloudnorm import Meter
    from scipy.signal import sosfilt

    meter = Meter(rate, filter_class="DeMan")
    sections = [np.r_[f.passband_gain * f.b / f.a[0], f.a / f.a[0]] for f in meter._filters.values()]
    weighted = torch.from_numpy(sosfilt(sections, blocks.numpy()))
    window, hop = meter.block_size, 1 - meter.overlap  # s, and of a window
    count = round((blocks.shape[1] / rate - window) / (window * hop)) + 1
    parts = [weighted[:, int(window * (i * hop) * rate) : int(window * (i * hop + 1) * rate)] for i in range(count)]
    power = torch.stack([_energy(part) for part in parts], dim=1) / (window * rate)
    audible = power > _power(ABSOLUTE_GATE)
    relative_gate = _mean(power, audible) * 10 ** (RELATIVE_GATE / 10)
    return -0.691 + 10 * torch.log10(_mean(power, audible & (power > relative_gate[:, None])))


def _power(loudness: float) -> float:
    """The weighted mean square of a loudness in LUFS."""
    return 10 ** ((loudness + 0.691) / 10)


def _mean(power: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen windows of each block, 0 where there are none. Shape: (block, window) -> (block,)."""
    return (power * chosen).sum(1) / chosen.sum(1).clamp(min=1)


def _db(amplitude: Tensor) -> Tensor:
    return 20 * torch.log10(amplitude.clamp(min=QUIETEST))


def _energy(rows: Tensor) -> Tensor:
    """The sum of squares of each row; vecdot needs no squares in memory. Shape: (row, time) -> (row,)."""
    return torch.linalg.vecdot(rows, rows)


def _low_high(spectrum: Tensor, samples: int, rate: int) -> Tensor:
    """Energy of the bins up to SPLIT_HZ, without DC, over that of those above, without the one at half the rate.

    So it is in the exercise: the bin at exactly SPLIT_HZ is low, and the last of `rfft` counts nowhere.
    A side counts for at least 1e-12 of the block's energy with DC, so that the ratio lies within 1e-12 and 1e12; it is 1
    for silence and for DC alone. Shape: (block, bins) -> (block,).
    """
    split = int(SPLIT_HZ / (rate / samples)) + 1
    parts = torch.view_as_real(spectrum).flatten(1)
    low, high = _energy(parts[:, 2 : 2 * split]), _energy(parts[:, 2 * split : 2 * (samples // 2)])
    least = FAINTEST * (_energy(parts[:, :2]) + low + high) + torch.finfo(torch.float64).tiny
    return torch.maximum(low, least) / torch.maximum(high, least)


def _true_peak(blocks: Tensor, spectrum: Tensor) -> Tensor:
    """The largest magnitude at four times the rate, as scipy.signal.resample gives it, to 1e-6 of it.

    What lies between the samples is float32, which takes half the time.
    """
    samples = blocks.shape[1]
    padded = spectrum.to(torch.complex64)
    if samples % 2 == 0:  # half the rate is a positive and a negative frequency, which share what lies there
        padded[:, -1] /= 2
    between = torch.fft.irfft(padded, 4 * samples).abs().amax(1) * 4
    return torch.maximum(blocks.abs().amax(1), between.double())
