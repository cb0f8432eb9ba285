"""A network that tells words apart by their waveforms."""

from __future__ import annotations

import itertools

from torch import Tensor, nn


class M5(nn.Module):
    """Four convolutions, each pooled by four, and the mean over time: M5 of Dai et al., "Very deep convolutional neural
    networks for raw waveforms" (2017).

    Theirs hears 8 kHz with kernels of 80 samples and strides of 4; the same times at 16 kHz are the defaults.

    Args:
        classes: outputs.
        width: channels of the first two convolutions; then twice and four times as many.
        kernel, stride: of the first convolution, in samples.

    Shape: (batch, 1, time) -> (batch, classes) logits; at least kernel + 423 stride samples.
    """

    def __init__(self, classes: int = 30, width: int = 128, kernel: int = 160, stride: int = 8) -> None:
        super().__init__()
        widths = [1, width, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            size, step = (kernel, stride) if before == 1 else (3, 1)
            # As in SpectrogramCNN the ReLU comes behind the pooling, which gives the same numbers for less.
            layers += [
                nn.Conv1d(before, after, size, step, bias=False),
                nn.BatchNorm1d(after),
                nn.MaxPool1d(4),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, waveform: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.features(waveform))
        return out
