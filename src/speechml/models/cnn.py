"""Time-domain convolutional denoisers of lab 2B: causal filters with a tanh between them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speechml.signal.convolution import causal_convolution


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
        if min(taps) < 1 or min(features) < 1:
            raise ValueError(f"taps {taps} and features {features} must all be at least 1")
        if features[0] != 1 or features[-1] != 1:
            raise ValueError(f"features {features} must begin and end with 1: one waveform in, one out")
        self.filters = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(k, out, into))
            for k, into, out in zip(taps, features[:-1], features[1:], strict=True)
        )

    @property
    def receptive_field(self) -> int:
        """Samples of input that one sample of output depends on."""
        return sum(h.shape[0] - 1 for h in self.filters) + 1

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
        super().__init__(taps, [1] * (len(list(taps)) + 1))
        for h in self.filters:
            nn.init.ones_(h)
