"""Hand-made features of music: true peak, level, loudness and the balance of low and high, one row a block of samples."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

GATE_S, OVERLAP = 0.4, 0.75  # gating blocks of ITU-R BS.1770-4, Annex 1
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS and LU, of the same
OFFSET = -0.691  # dB, of the same: undoes the K-weighting's gain at 997 Hz
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
    return torch.cat([_features(some, rate) for some in blocks.split(ROWS)])


def _features(samples: Tensor, rate: int) -> Tensor:
    blocks = samples.double()
    spectrum = torch.fft.rfft(blocks)
    peak, square = _true_peak(samples, blocks, spectrum), _energy(blocks) / blocks.shape[1]
    loudness = integrated_loudness(samples, rate)
    rms = square.sqrt()
    crest = torch.where(rms > 0, peak / rms, 1.0)
    return torch.stack(
        (
            peak, peak.square(), _db(peak), square, rms, _db(rms), 10 ** (loudness / 20), 10 ** (loudness / 10),
            loudness.clamp(min=ABSOLUTE_GATE), crest, _db(crest), _low_high(spectrum, blocks.shape[1], rate),
        ),
        dim=1,
    )  # fmt: skip


def integrated_loudness(blocks: Tensor, rate: int) -> Tensor:
    """Loudness of each block as a recording of its own, one channel, by ITU-R BS.1770-4; -inf where all of it is gated.

    Equal to pyloudnorm's Meter(rate, "DeMan"), whose filters are the standard's at 48 kHz to eight digits; those of its
    default class, and of torchaudio, read a sine of 997 Hz 0.04 dB too low.

    Args:
        blocks: (block, time), at least 0.4 s long.
        rate: Hz.

    Returns:
        (block,) in LUFS, float64.
    """
    return _gated(_gate_powers(blocks, rate))


def _db(amplitude: Tensor) -> Tensor:
    return 20 * torch.log10(amplitude.clamp(min=QUIETEST))


def _energy(rows: Tensor) -> Tensor:
    """The sum of squares of each row; vecdot needs no squares in memory. Shape: (row, time) -> (row,)."""
    return torch.linalg.vecdot(rows, rows)


def _low_high(spectrum: Tensor, samples: int, rate: int) -> Tensor:
    """Energy of the bins below SPLIT_HZ, without DC, over that of the others.

    A side counts for at least 1e-12 of the block's energy with DC, so that the ratio lies within 1e-12 and 1e12; it is 1
    for silence and for DC alone. Shape: (block, bins) -> (block,).
    """
    split = min(int(np.ceil(SPLIT_HZ * samples / rate)), spectrum.shape[1])
    parts = torch.view_as_real(spectrum).flatten(1)
    low, high = _energy(parts[:, 2 : 2 * split]), _energy(parts[:, 2 * split :])
    least = FAINTEST * (_energy(parts[:, :2]) + low + high) + torch.finfo(torch.float64).tiny
    return torch.maximum(low, least) / torch.maximum(high, least)


@lru_cache(maxsize=8)
def _half_sample(samples: int) -> Tensor:
    """The spectrum that moves a block by half a sample. Shape: (bins,), complex64."""
    turns = torch.pi * torch.arange(samples // 2 + 1, dtype=torch.float64) / samples
    spectrum = torch.polar(torch.ones_like(turns), turns)
    if samples % 2 == 0:  # half the rate is a positive and a negative frequency, of which the halves cancel
        spectrum[-1] = 0
    return spectrum.to(torch.complex64)


def _true_peak(samples: Tensor, blocks: Tensor, spectrum: Tensor) -> Tensor:
    """The largest magnitude at four times the rate, as scipy.signal.resample gives it, to 1e-6 of it.

    Doubled by the Fourier transform, which is periodic; a short kernel finds what lies between.

    What lies between samples is float32, which is some 3e-7 off and saves a fifth of the time of all features. `samples`
    are the blocks as they came, which float32 holds if they come from a file.
    """
    from speechml.music.feature_loops import raise_peaks

    between = torch.fft.irfft(spectrum.to(torch.complex64) * _half_sample(blocks.shape[1]), blocks.shape[1])
    peak = blocks.abs().amax(1)
    highest = torch.maximum(peak.float(), between.abs().amax(1))
    raise_peaks(samples.float().contiguous().numpy(), between.numpy(), highest.numpy())
    return torch.maximum(peak, highest.double())


@lru_cache(maxsize=8)
def _k_weighting(rate: int) -> np.ndarray:
    """Both stages of the K-weighting. Shape: (2, 6), as scipy.signal.sosfilt takes it."""
    from pyloudnorm import Meter

    stages = Meter(rate, filter_class="DeMan")._filters.values()
    return np.stack([np.concatenate((stage.b, stage.a)) for stage in stages])


def _gate_powers(blocks: Tensor, rate: int) -> Tensor:
    """The mean square of each gating block, K-weighted. Shape: (block, time) -> (block, gating blocks)."""
    from speechml.music.feature_loops import add_filtered_energy

    edges, inside = _gates(blocks.shape[1], rate)
    energy = torch.zeros(len(edges) - 1, len(blocks), dtype=torch.float64)
    add_filtered_energy(blocks.T.contiguous().numpy(), _k_weighting(rate), edges, energy.numpy())
    return energy.T @ inside / (GATE_S * rate)


@lru_cache(maxsize=8)
def _gates(samples: int, rate: int) -> tuple[np.ndarray, Tensor]:
    """The edges of all gating blocks in samples, and which stretch between edges is in which gating block.

    Rounded as pyloudnorm rounds: for 0.5 s there are two gating blocks. Shape of the second: (stretches, gating blocks).
    """
    step = 1 - OVERLAP
    if samples < GATE_S * rate:
        raise ValueError(f"a block of {samples} samples at {rate} Hz is shorter than a gating block of {GATE_S} s")
    count = round((samples / rate - GATE_S) / (GATE_S * step)) + 1
    spans = [(int(GATE_S * (j * step) * rate), min(int(GATE_S * (j * step + 1) * rate), samples)) for j in range(count)]
    edges = sorted({edge for span in spans for edge in span})
    inside = [[float(first <= edge < last) for first, last in spans] for edge in edges[:-1]]
    return np.array(edges), torch.tensor(inside, dtype=torch.float64)


def _gated(powers: Tensor) -> Tensor:
    """Loudness from the power of the gating blocks, gated twice. Shape: (block, gating blocks) -> (block,)."""
    loudness = OFFSET + 10 * torch.log10(powers)
    audible = loudness >= ABSOLUTE_GATE
    threshold = OFFSET + 10 * torch.log10(_mean_where(powers, audible)) + RELATIVE_GATE
    kept = (loudness > ABSOLUTE_GATE) & (loudness > threshold[:, None])
    return OFFSET + 10 * torch.log10(_mean_where(powers, kept))


def _mean_where(powers: Tensor, chosen: Tensor) -> Tensor:
    return (powers * chosen).sum(1) / chosen.sum(1).clamp(min=1)
