"""A temporal convolutional network from windows of STFT magnitudes to a mask of their last frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.models.stft_network import STFTNetwork


class STFTTCN(STFTNetwork):
    """Windows of frames to the clean spectrum of each window's last frame, by dilated convolutions along time.

    The bins of a frame are mixed into `channels` by one layer; residual blocks, each a dilated convolution of a few frames,
    batch normalisation and a ReLU, look ever further back; a last layer gives a mask, a sigmoid that the noisy frame is
    multiplied by. After Bai et al., "An empirical evaluation of generic convolutional and recurrent networks for sequence
    modeling" (2018).

    Args:
        bins: of the spectrum, n_fft // 2 + 1.
        channels: of each block.
        kernel: frames that a convolution sees.
        dilations: distance of these frames in each block.

    Shape: (batch, 1, frames, bins) -> (batch, bins), magnitudes; `frames` follows from kernel and dilations.
    """

    def __init__(
        self, bins: int = 513, channels: int = 192, kernel: int = 3, dilations: Sequence[int] = (1, 2, 4, 8)
    ) -> None:
        super().__init__(bins, 1 + (kernel - 1) * sum(dilations))
        self.encode = nn.Conv1d(bins, channels, 1)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in dilations)
        blocks = [nn.Conv1d(channels, channels, kernel, dilation=step) for step in dilations]
        self.blocks = nn.ModuleList(blocks)
        self.gains = nn.Parameter(torch.full((len(dilations),), 0.5))  # of the blocks, so that their sum starts tame
        self.decode = nn.Conv1d(channels, bins, 1)
        for convolution in [*blocks, self.decode]:
            nn.init.zeros_(cast("Tensor", convolution.bias))
        for block in blocks:
            nn.init.kaiming_normal_(block.weight, nonlinearity="relu")

    def describe(self) -> str:
        """Say in one sentence what goes in and how many parameters there are."""
        return (
            f"{type(self).__name__}: windows of {self.frames} x {self.bins} (frames x bins), {len(self.blocks)} dilated "
            f"convolutions; {sum(p.numel() for p in self.parameters()):,} parameters"
        )

    def forward(self, magnitudes: Tensor) -> Tensor:
        self.check_windows(magnitudes)
        return self.all_windows(magnitudes[:, 0])[:, 0]

    def all_windows(self, spectrogram: Tensor) -> Tensor:
        self.check_spectrogram(spectrogram)
        x = F.relu(self.encode(self.normalized_logs(spectrogram).transpose(1, 2)))
        for gain, block, norm in zip(self.gains, self.blocks, self.norms, strict=True):
            y = F.relu(norm(block(x)))
            x = x[..., x.shape[-1] - y.shape[-1] :] + gain * y
        mask = torch.sigmoid(self.decode(x).transpose(1, 2).float())  # not rounded to the run's precision
        return mask * spectrogram[:, self.frames - 1 :]
