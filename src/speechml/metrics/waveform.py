"""Scores of a denoised waveform against its clean one, each item on its own."""

import torch
from torch import Tensor


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
    return _ratio_db(clean.double(), (clean - estimate).double())


def si_sdr_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB; NaN where the clean waveform is silence.

    Le Roux et al., "SDR - half-baked or well done?" (ICASSP 2019), without removal of the mean, as defined there.
    Shape: (batch, channel, time) twice -> (batch,).
    """
    estimate, clean = estimate.double(), clean.double()
    scale = (estimate * clean).sum((1, 2), keepdim=True) / clean.square().sum((1, 2), keepdim=True)
    return _ratio_db(scale * clean, scale * clean - estimate)


def _ratio_db(signal: Tensor, error: Tensor) -> Tensor:
    return 10 * torch.log10(signal.square().sum((1, 2)) / error.square().sum((1, 2)))


# What is scored per item, by the name it has in tables; a larger value is better for those in dB.
WAVEFORM_SCORES = {"mse": mse, "l1": l1, "snr_db": snr_db, "si_sdr_db": si_sdr_db}
