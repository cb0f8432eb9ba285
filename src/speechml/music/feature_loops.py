"""Two loops over samples that tensors would go over many times, compiled by numba when they are first called.

Imported where they are needed only, for the sake of those who read no music.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# The half-band kernel that finds the value between two neighbours of a signal at twice its rate: 12 of them on each side
# under a Kaiser window, whose attenuation for such a length (Kaiser 1974: 8 + 2.285 * (2 * 12 - 1) * pi dB) is 173 dB.
PAIRS = 12
NEAR = 4  # pairs that are enough to tell that a value is no peak
_PLACE = np.arange(PAIRS) + 0.5
_BETA = 0.1102 * (8 + 2.285 * (2 * PAIRS - 1) * np.pi - 8.7)
_WINDOW = np.i0(_BETA * np.sqrt(1 - (_PLACE / PAIRS) ** 2)) / np.i0(_BETA)
WEIGHTS = tuple((np.sinc(_PLACE) * _WINDOW).astype(np.float32))
# All that the other pairs can add where no value exceeds 1, and a little for rounding.
FAR = np.float32(2 * np.abs(WEIGHTS[NEAR:]).sum() + 1e-5)
W0, W1, W2, W3 = WEIGHTS[:NEAR]

# Sums may be taken in any order, as vector instructions take them; there is no NaN, and no sign of zero that matters.
VECTORS = {"contract", "reassoc", "nnan", "nsz"}


@njit(cache=True, fastmath=VECTORS)
def raise_peaks(samples: np.ndarray, between: np.ndarray, peak: np.ndarray) -> None:
    """Raise `peak` to the largest magnitude at four times the rate of periodic blocks, all float32.

    Shape: samples (block, time), the values halfway after each of them likewise, and `peak` (block,), the largest of both.
    """
    blocks, count = samples.shape
    doubled = np.empty(2 * count + 2 * PAIRS, np.float32)
    near = np.empty(2 * count, np.float32)
    for block in range(blocks):
        for t in range(count):
            doubled[PAIRS + 2 * t] = samples[block, t]
            doubled[PAIRS + 2 * t + 1] = between[block, t]
        doubled[:PAIRS] = doubled[2 * count : 2 * count + PAIRS]
        doubled[2 * count + PAIRS :] = doubled[PAIRS : 2 * PAIRS]
        for t in range(2 * count):  # without a branch, which makes it eight times as fast
            p = t + PAIRS
            near[t] = abs(
                W0 * (doubled[p] + doubled[p + 1])
                + W1 * (doubled[p - 1] + doubled[p + 2])
                + W2 * (doubled[p - 2] + doubled[p + 3])
                + W3 * (doubled[p - 3] + doubled[p + 4])
            )
        highest = peak[block]
        slack = FAR * highest
        for t in range(2 * count):
            if near[t] > highest - slack:  # few are: the bound is exact, so that no peak is missed
                value = np.float32(0)
                for j in range(PAIRS):
                    value += WEIGHTS[j] * (doubled[t + PAIRS - j] + doubled[t + PAIRS + 1 + j])
                highest = max(highest, abs(value))
        peak[block] = highest


@njit(cache=True, fastmath=VECTORS)
def add_filtered_energy(samples: np.ndarray, stages: np.ndarray, edges: np.ndarray, energy: np.ndarray) -> None:
    """Add the energy of blocks, filtered from rest by two biquads (transposed direct form II), to `energy`.

    Shape: samples (time, block), so that neighbours in memory are filtered by one instruction; stages (2, 6) as
    scipy.signal.sosfilt takes them; edges (stretches + 1,) in samples; energy (stretches, block).
    """
    state = np.zeros((4, samples.shape[1]))
    b0, b1, b2, a1, a2 = stages[0, 0], stages[0, 1], stages[0, 2], stages[0, 4], stages[0, 5]
    d0, d1, d2, c1, c2 = stages[1, 0], stages[1, 1], stages[1, 2], stages[1, 4], stages[1, 5]
    for stretch in range(len(edges) - 1):
        for t in range(edges[stretch], edges[stretch + 1]):
            for block in range(samples.shape[1]):
                x = samples[t, block]
                y = b0 * x + state[0, block]
                state[0, block] = b1 * x - a1 * y + state[1, block]
                state[1, block] = b2 * x - a2 * y
                z = d0 * y + state[2, block]
                state[2, block] = d1 * y - c1 * z + state[3, block]
                state[3, block] = d2 * y - c2 * z
                energy[stretch, block] += z * z
