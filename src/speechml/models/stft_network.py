"""What networks of STFT magnitudes have in common: a window of frames in, the clean spectrum of its last frame out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOG_FLOOR = 1e-4  # added before the logarithm: about the magnitude of 16 bits' rounding (1.7e-4 for n_fft 1024)


class STFTNetwork(nn.Module):
    """Base of the networks that `speechml.tasks.MagnitudeDenoiser` takes.

    Args:
        bins: of the spectrum, n_fft // 2 + 1.
        frames: of a window.

    Shape of `forward`: (batch, 1, [frames,] bins) -> (batch, bins), magnitudes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, bins: int, frames: int) -> None:
        super().__init__()
        self.bins, self.frames = bins, frames
        self.register_buffer("mean", torch.zeros(bins))  # of the logarithms of training magnitudes
        self.register_buffer("std", torch.ones(()))

    def all_windows(self, spectrogram: Tensor) -> Tensor:
        """What `forward` gives for every window of consecutive frames.

        Shape: (batch, time, bins) -> (batch, time - frames + 1, bins).
        """
        raise NotImplementedError

    def describe(self) -> str:
        """Say in one sentence what goes in and how many parameters there are."""
        raise NotImplementedError

    def fit_inputs(self, magnitudes: Tensor) -> None:
        """Take the mean of each bin's logarithms and the deviation of all from training magnitudes. Shape: (time, bins)."""
        logs = (magnitudes + LOG_FLOOR).log()
        self.mean.copy_(logs.mean(0))
        self.std.copy_(logs.std().clamp(min=1e-3))

    def normalized_logs(self, magnitudes: Tensor) -> Tensor:
        """Logarithms less each bin's mean, over their deviation. Shape: (..., bins) -> the same."""
        return ((magnitudes + LOG_FLOOR).log() - self.mean) / self.std

    def check_spectrogram(self, spectrogram: Tensor) -> None:
        """Raise ValueError where `all_windows` does not take a shape."""
        if spectrogram.dim() != 3 or spectrogram.shape[2] != self.bins or spectrogram.shape[1] < self.frames:
            raise ValueError(
                f"spectrograms must be (batch, at least {self.frames} frames, {self.bins}), not {tuple(spectrogram.shape)}"
            )

    def check_windows(self, magnitudes: Tensor) -> None:
        """Raise ValueError where windows have another shape than (batch, 1, frames, bins)."""
        if magnitudes.dim() != 4 or tuple(magnitudes.shape[1:]) != (1, self.frames, self.bins):
            raise ValueError(f"windows must be (batch, 1, {self.frames}, {self.bins}), not {tuple(magnitudes.shape)}")
