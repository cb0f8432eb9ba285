"""Denoisers of waveforms: the filter and the fully connected network of lab 2A, the convolutional networks of lab 2B."""

from collections.abc import Sequence

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
            raise ValueError(f"taps is {taps}; a filter has at least 1")
        self.receptive_field = taps  # samples of input that one sample of output depends on
        self.taps = nn.Parameter(torch.ones(taps, 1, 1))  # (tap, feature out, feature in)

    def forward(self, waveform: Tensor) -> Tensor:
        return causal_convolution(waveform, self.taps)


class FCNN(nn.Module):
    """`samples` -> `hidden` -> `samples`, ReLU after both layers, all parameters uniform in [-0.5, 0.5] (lab 2A).

    It has far more parameters than there are recordings, and the lesson is that it fails.

    Shape: (batch, 1, samples) -> (batch, 1, samples). Another length is a ValueError.
    """

    def __init__(self, samples: int = 32000, hidden: int = 100) -> None:
        super().__init__()
        self.samples = samples
        self.layers = nn.Sequential(nn.Linear(samples, hidden), nn.ReLU(), nn.Linear(hidden, samples), nn.ReLU())
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)

    def forward(self, waveform: Tensor) -> Tensor:
        if waveform.shape[-1] != self.samples:
            raise ValueError(f"this network takes records of {self.samples} samples, not {waveform.shape[-1]}")
        out: Tensor = self.layers(waveform)
        return out


class MIMOCNN(nn.Module):
    """Layers of causal multiple-input multiple-output filters, tanh after every layer but the last, no bias (lab 2B).

    Args:
        taps: taps of each layer, in samples.
        features: features in front of, between and behind the layers; one more than `taps`, 1 at both ends.

    Filters start Xavier normal on the (tap, feature out, feature in) tensor. Shape: (batch, 1, time) -> (batch, 1, time).
    """

    def __init__(self, taps: Sequence[int] = (40, 40), features: Sequence[int] = (1, 5, 1)) -> None:
        super().__init__()
        taps, features = list(taps), list(features)
        if not taps or len(features) != len(taps) + 1:
            raise ValueError(
                f"taps {taps} describe {len(taps)} layers, so features needs {len(taps) + 1} numbers "
                f"(in, between the layers, out), but is {features}"
            )
        if min(*taps, *features) < 1:
            raise ValueError(f"taps {taps} and features {features} must be at least 1 each")
        if features[0] != 1 or features[-1] != 1:
            raise ValueError(f"features {features} must begin and end with 1: one waveform in, one out")
        self.receptive_field = sum(taps) - len(taps) + 1  # samples of input that one sample of output depends on
        self.filters = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(k, out, into))
            for k, into, out in zip(taps, features[:-1], features[1:], strict=True)
        )

    def forward(self, waveform: Tensor) -> Tensor:
        for h in list(self.filters)[:-1]:
            waveform = torch.tanh(causal_convolution(waveform, h))
        return causal_convolution(waveform, self.filters[-1])


class CNN(MIMOCNN):
    """One causal filter a layer, tanh after every layer but the last; all taps start at 1 (lab 2B).

    Args:
        taps: taps of each layer, in samples.

    Shape: (batch, 1, time) -> (batch, 1, time).
    """

    def __init__(self, taps: Sequence[int] = (40, 40)) -> None:
        super().__init__(taps, [1] * (len(taps) + 1))
        for h in self.filters:
            nn.init.ones_(h)
