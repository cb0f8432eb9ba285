"""Scores of a denoised waveform against its clean one, each item on its own: torchmetrics', in float64."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

QUIET = 1e-3  # RMS, full scale being 1: an error 60 dB below it is still a hundred million times torchmetrics' constant


def mse(estimate: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error per sample. Shape: (batch, channel, time) twice -> (batch,)."""
    return (estimate - clean).double().square().mean((1, 2))


def l1(estimate: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute error per sample. Shape: (batch, channel, time) twice -> (batch,)."""
    return (estimate - clean).double().abs().mean((1, 2))


def snr_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """Signal-to-noise ratio 10 log10(sum s^2 / sum (s - s_hat)^2) in dB; NaN where the clean waveform is silence.

    Shape: (batch, channel, time) twice -> (batch,).
    """
    return _where_defined(signal_noise_ratio, estimate, clean)


def si_sdr_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB; NaN where one of the waveforms is silence.

    Le Roux et al., "SDR - half-baked or well done?" (ICASSP 2019), without removal of the mean, as defined there.
    Shape: (batch, channel, time) twice -> (batch,).
    """
    value = _where_defined(scale_invariant_signal_distortion_ratio, estimate, clean)
    return value.masked_fill(~estimate.flatten(1).any(1), torch.nan)


def _where_defined(ratio_db: Callable[[Tensor, Tensor], Tensor], estimate: Tensor, clean: Tensor) -> Tensor:
    """A ratio, NaN on silence and infinite of equal waveforms, where torchmetrics' small constant gives some number."""
    estimate, clean = estimate.double().flatten(1), clean.double().flatten(1)
    level = clean.square().mean(1, keepdim=True).sqrt()
    level = level.masked_fill((level == 0) | (level >= QUIET), 1.0)
    if bool((level != 1).any()):  # at full level that constant is far below any error
        estimate, clean = estimate / level, clean / level
    value = ratio_db(estimate, clean).masked_fill((estimate == clean).all(1), torch.inf)
    return value.masked_fill(~clean.any(1), torch.nan)


# What is scored per item, by the name it has in tables; a larger value is better for those in dB.
WAVEFORM_SCORES = {"mse": mse, "l1": l1, "snr_db": snr_db, "si_sdr_db": si_sdr_db}
