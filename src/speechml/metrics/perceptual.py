"""PESQ and STOI of whole recordings, where the extra `[metrics]` is installed; NaN where they are not defined."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import warnings
from collections.abc import Callable

import numpy as np
import soxr
import torch
from torch import Tensor

# ITU-T P.862.3 recommends speech of 8 to 30 s; longer recordings are scored in equal pieces of at most this.
PIECE_S = 20.0
LEAST_S = 0.5  # below it neither measure has enough frames of 0.256 s (PESQ's own limit) or 0.384 s (STOI)

KEPT = 20_000  # scores, of 16 bytes and a number each
_scores: dict[
    bytes, float
] = {}  # by what they were computed of: 50 ms each, for the same noisy recordings in all runs of a sweep

Score = Callable[[Tensor, Tensor, int], float]  # of the clean and the denoised waveform (time,), at a sample rate in Hz


def perceptual_scores(estimate: Tensor, clean: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """`pesq` and `stoi` of each recording, or nothing where their packages are absent.

    Args:
        estimate, clean: (batch, 1, time).
        sample_rate: Hz; PESQ is wide-band (ITU-T P.862.2) at 16 kHz and above, narrow-band at 8 kHz.

    Shape of each score: (batch,), float64; NaN on silence, and on recordings shorter than LEAST_S.
    """
    pairs = list(zip(clean[:, 0].cpu(), estimate[:, 0].cpu(), strict=True))
    return {
        name: torch.tensor([_score(name, *pair, sample_rate) for pair in pairs], dtype=torch.float64)
        for name in available()
    }


@functools.cache
def available() -> tuple[str, ...]:
    """Which of the two can be computed here."""
    return tuple(name for name, package in PACKAGES.items() if importlib.util.find_spec(package))


def _score(name: str, clean: Tensor, estimate: Tensor, rate: int) -> float:
    """One score of a recording, computed once in this process."""
    content = hashlib.blake2b(f"{name} {rate} {clean.dtype} {estimate.dtype} {len(clean)}".encode(), digest_size=16)
    for waveform in (clean, estimate):
        content.update(waveform.contiguous().numpy().data)
    key = content.digest()
    if key not in _scores:
        if len(_scores) >= KEPT:
            _scores.pop(next(iter(_scores)))
        _scores[key] = _in_pieces(SCORES[name], clean, estimate, rate)
    return _scores[key]


def _in_pieces(score: Score, clean: Tensor, estimate: Tensor, rate: int) -> float:
    """The mean over pieces on which the score is defined; NaN where it is on none."""
    if len(clean) < LEAST_S * rate or not estimate.isfinite().all():
        return math.nan
    count = math.ceil(len(clean) / (PIECE_S * rate))
    pieces = zip(clean.tensor_split(count), estimate.tensor_split(count), strict=True)
    values = [score(*piece, rate) for piece in pieces if piece[0].any()]
    defined = [v for v in values if not math.isnan(v)]
    return sum(defined) / len(defined) if defined else math.nan


def _pesq(clean: Tensor, estimate: Tensor, rate: int) -> float:
    from pesq import PesqError, pesq

    own = 16000 if rate >= 16000 else 8000
    waves = [w.numpy() if rate == own else soxr.resample(w.numpy(), rate, own) for w in (clean, estimate)]
    if not waves[1].any():  # PESQ divides by the peak
        return math.nan
    try:
        return float(np.float32(pesq(own, *waves, "wb" if own == 16000 else "nb")))
    except (PesqError, ValueError):  # no utterance in it, or samples that overflow
        return math.nan


def _stoi(clean: Tensor, estimate: Tensor, rate: int) -> float:
    from pystoi import stoi

    with warnings.catch_warnings():
        # It warns, and gives 1e-5, where too little is left without silence; that is no score.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(clean.numpy(), estimate.numpy(), rate))
        except (RuntimeWarning, ValueError, IndexError):
            return math.nan


PACKAGES = {"pesq": "pesq", "stoi": "pystoi"}
SCORES: dict[str, Score] = {"pesq": _pesq, "stoi": _stoi}
