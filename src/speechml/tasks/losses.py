"""Further losses of waveforms, and the trial of a loss that a config brings."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.errors import UserError
from speechml.tasks.denoising import Loss

# Frame, hop and window of each resolution in samples, and the least power of a bin: Yamamoto et al., "Parallel WaveGAN"
# (ICASSP 2020), as the authors' code and auraloss have them.
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
LEAST_POWER = 1e-7


def si_sdr_loss(estimate: Tensor, clean: Tensor) -> Tensor:
    """Minus the mean SI-SDR in dB (Le Roux et al. 2019): clips count alike, and the level of the estimate not at all.

    A clip without speech has -80 dB and no gradient. Shape: (batch, 1, time) twice -> ().
    """
    tiny = torch.finfo(clean.dtype).tiny
    scale = (estimate * clean).sum(-1, keepdim=True) / (clean.square().sum(-1, keepdim=True) + tiny)
    kept, error = (scale * clean).square().sum(-1), (scale * clean - estimate).square().sum(-1)
    floor = 1e-8 * estimate.square().sum(-1) + tiny
    return 10 * torch.log10((error + floor) / (kept + floor)).mean()


def mr_stft_loss(estimate: Tensor, clean: Tensor) -> Tensor:
    """The multi-resolution STFT loss: for each of RESOLUTIONS spectral convergence plus log magnitude, then their mean.

    With magnitudes X of the estimate and S of the clean batch, ||S - X|| / ||S|| over the batch (Frobenius) plus the mean
    of |ln S - ln X|. Shape: (batch, 1, time) twice -> ().
    """
    parts = []
    for n_fft, hop, length in RESOLUTIONS:
        window = torch.hann_window(length, device=clean.device)
        found, wanted = (_magnitudes(waveform, n_fft, hop, window) for waveform in (estimate, clean))
        parts += [torch.linalg.norm(wanted - found) / torch.linalg.norm(wanted), F.l1_loss(found.log(), wanted.log())]
    return torch.stack(parts).sum() / len(RESOLUTIONS)


def _magnitudes(waveform: Tensor, n_fft: int, hop: int, window: Tensor) -> Tensor:
    """Shape: (batch, 1, time) -> (batch, bins, frames). A shorter waveform than half a frame is one with zeros behind."""
    waveform = F.pad(waveform[:, 0].float(), (0, max(0, n_fft // 2 + 1 - waveform.shape[-1])))
    spectrum = torch.stft(waveform, n_fft, hop, len(window), window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=LEAST_POWER).sqrt()


def check_loss(loss: Loss, estimate: Tensor, target: Tensor) -> None:
    """Try a loss of a config on a batch, ahead of the run.

    Raises:
        UserError: it does not take the shapes, or gives no scalar that a gradient can be taken of.
    """
    what, trial = f"model.loss {type(loss).__name__}", copy.deepcopy(loss)  # it may count what it has seen
    shapes = f"{tuple(estimate.shape)} and {tuple(target.shape)}"
    try:
        value = trial(estimate.detach().clone().requires_grad_(), target)
    except Exception as error:  # whatever a class says
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{what} does not take outputs and targets of shapes {shapes}", why) from error
    if not isinstance(value, Tensor) or value.dim():
        shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UserError(f"{what} gives {shape}, not one number for a batch", fix="let it return the mean")
    if not value.requires_grad:
        raise UserError(f"{what} gives a number without a gradient", fix="compute it of the output by torch alone")
