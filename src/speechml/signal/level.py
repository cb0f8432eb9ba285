"""How loud waveforms are, and what brings them to one level before a network and back behind it."""

from __future__ import annotations

import torch
from torch import Tensor

SPEECH_RMS = 0.05
"""What classifiers bring clips to: -26 dB of full scale, the level that ITU-T P.56 measures active speech against."""


def rms(waveform: Tensor) -> Tensor:
    """The RMS of each waveform, at any level that float32 holds; 1 of silence, so that it can be divided by.

    Shape: (..., time) -> (..., 1).
    """
    waveform = waveform.float()
    peak = waveform.abs().amax(-1, keepdim=True)
    peak = torch.where(peak > 0, peak, torch.ones_like(peak))
    # Squares of what lies below 1e-19 would vanish.
    level = peak * (waveform / peak).square().mean(-1, keepdim=True).sqrt()
    return torch.where(level > 0, level, torch.ones_like(level))


def decibels(rms: float) -> float:
    """An RMS in dB of full scale (dBFS)."""
    import math

    return 20 * math.log10(rms) if rms > 0 else -math.inf


def check_waveforms(waveforms: Tensor) -> None:
    """Raises ValueError for what is no batch of waveforms."""
    if waveforms.dim() != 3 or waveforms.shape[1] != 1:
        raise ValueError(f"waveforms must be (batch, 1, time), not {tuple(waveforms.shape)}")
