"""Networks that tell words apart by their spectrograms."""

from __future__ import annotations

import itertools

from torch import Tensor, nn


class SpectrogramCNN(nn.Module):
    """Five convolutions and two linear layers: the network of the R torch book, chapter 22.

    Args:
        channels: of the spectrogram.
        classes: outputs.

    Shape: (batch, channels, bins, time) -> (batch, classes) logits; at least 78 bins and frames.
    """

    def __init__(self, channels: int = 1, classes: int = 30) -> None:
        super().__init__()
        widths = [channels, 32, 64, 128, 256, 512]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3), nn.BatchNorm2d(after)]
            # The largest of some values does not depend on whether they are cut at zero before or after: a quarter of
            # the work, and the same numbers as with the ReLU first.
            layers += [nn.MaxPool2d(2)] if after != widths[-1] else []
            layers += [nn.ReLU(inplace=True)]
            layers += [nn.AdaptiveAvgPool2d(1)] if after == widths[-1] else []
            layers += [nn.Dropout2d(0.2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, classes)
        )

    def forward(self, spectrogram: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.features(spectrogram))
        return out


class SpectrogramResNet(nn.Module):
    """A small residual network: strided blocks of two convolutions, the mean over bins and time, one linear layer.

    Args:
        channels: of the spectrogram.
        bins: of the spectrogram; each is normalised on its own.
        classes: outputs.
        width: channels of the first block; the last has three times as many.
        dropout: of channels, within the blocks.

    Shape: (batch, channels, bins, time) -> (batch, classes) logits.
    """

    def __init__(
        self, channels: int = 1, bins: int = 64, classes: int = 30, width: int = 48, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels * bins)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width // 2, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            Residual(width // 2, width, (2, 1), dropout), Residual(width, width, (1, 1), dropout),
            Residual(width, 2 * width, (2, 2), dropout), Residual(2 * width, 2 * width, (1, 1), dropout),
            Residual(2 * width, 3 * width, (2, 2), dropout),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.3), nn.Linear(3 * width, classes))

    def forward(self, spectrogram: Tensor) -> Tensor:
        normal = self.norm(spectrogram.flatten(1, 2)).view_as(spectrogram)
        out: Tensor = self.classifier(self.blocks(self.stem(normal)).mean((2, 3)))
        return out


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al., "Deep residual learning", 2015).

    Shape: (batch, before, bins, time) -> (batch, after, bins / stride, time / stride), rounded up.
    """

    def __init__(self, before: int, after: int, stride: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout2d(dropout)
        )
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        self.stride = stride
        widens = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        self.shortcut = nn.Identity() if before == after and stride == (1, 1) else widens
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        # Strided by hand: oneDNN's gradient of a strided 1 x 1 convolution crashes for fewer than 16 channels, channels
        # last, in float32 (torch 2.14.1 on AVX-512).
        kept = x[:, :, :: self.stride[0], :: self.stride[1]]
        out: Tensor = self.relu(self.shortcut(kept) + self.second(self.first(x)))
        return out
