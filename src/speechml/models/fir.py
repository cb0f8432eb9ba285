"""One learned finite impulse response filter: the baseline of lab 2A."""

import torch
from torch import Tensor, nn

from speechml.signal.convolution import causal_convolution


class FIR(nn.Module):
    """y(n) = sum_k h(k) x(n - k) over `taps` learned taps, zero before the record; taps start at 1 (lab 2A).

    Shape: (batch, 1, time) -> (batch, 1, time).
    """

    def __init__(self, taps: int = 81) -> None:
        super().__init__()
        if taps < 1:
            raise ValueError(f"taps is {taps}; a filter needs at least 1 tap")
        self.taps = nn.Parameter(torch.ones(taps, 1, 1))  # (tap, feature out, feature in)

    @property
    def receptive_field(self) -> int:
        """Samples of input that one sample of output depends on."""
        return self.taps.shape[0]

    def forward(self, waveform: Tensor) -> Tensor:
        return causal_convolution(waveform, self.taps)
