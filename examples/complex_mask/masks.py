"""A denoiser that multiplies the short-time Fourier transform with a complex mask; it moves phases as well."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.signal.stft import STFT, valid_length


class ComplexMask(nn.Module):
    """STFT, convolutions over frames and frequencies that see the past only, a complex mask, the inverse STFT.

    Args:
        n_fft, hop: of the STFT, in samples.
        channels: of the convolutions.
        dilations: distance of the three frames that each convolution sees, in frames, a layer each.

    Shape: (batch, 1, time) -> (batch, 1, time).
    """

    def __init__(
        self, n_fft: int = 1024, hop: int = 256, channels: int = 16, dilations: tuple[int, ...] = (1, 2, 4)
    ) -> None:
        super().__init__()
        self.stft = STFT(n_fft, hop)
        self.dilations = tuple(dilations)
        widths = [2, *[channels] * len(self.dilations)]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, (3, 5), dilation=(dilation, 1), padding=(0, 2))
            for before, after, dilation in zip(widths[:-1], widths[1:], self.dilations, strict=True)
        )
        self.last = nn.Conv2d(channels, 2, 1)
        for weights in self.last.parameters():
            nn.init.zeros_(weights)  # the first mask is 1: training begins with the noisy recording
        # What a sample of output depends on, so that files are denoised piece by piece without seams: the frames over
        # it reach n_fft to both sides, those that the convolutions look back on further still; pieces begin at frames.
        self.receptive_field = n_fft + 2 * sum(self.dilations) * hop + 1
        self.lookahead = n_fft
        self.hop = hop

    def forward(self, noisy: Tensor) -> Tensor:
        time = noisy.shape[-1]
        spectrum = self.stft(F.pad(noisy[:, 0], (0, valid_length(time, self.hop) - time)))  # (batch, frame, bin)
        maps = torch.stack([spectrum.real, spectrum.imag], 1)
        # Compressed, so that soft sounds count as well; the floor keeps the root from an infinite gradient at silence.
        maps = maps / (maps.square().sum(1, keepdim=True) + 1e-5) ** 0.35
        for layer, dilation in zip(self.layers, self.dilations, strict=True):
            maps = F.elu(layer(F.pad(maps, (0, 0, 2 * dilation, 0))))
        mask = torch.tanh(self.last(maps).float())
        cleaned = spectrum * torch.complex(1 + mask[:, 0], mask[:, 1])
        return self.stft.inverse(cleaned)[:, None, :time]
