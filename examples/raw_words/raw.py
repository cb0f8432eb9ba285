"""A network for words that hears the waveform itself, and a loss for it; both are found by their names in the configs."""

import itertools

import torch
from torch import Tensor, nn


class RawNet(nn.Module):
    """Strided convolutions along the waveform, the mean over time, one linear layer.

    Args:
        classes: outputs; filled in when a run begins, as many as the data have.
        widths: channels, a layer each.

    Shape: (batch, 1, time) -> (batch, classes).
    """

    def __init__(self, classes: int = 30, widths: tuple[int, ...] = (32, 48, 64, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv1d(1, widths[0], 160, stride=20), nn.BatchNorm1d(widths[0]), nn.ReLU()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv1d(before, after, 5, stride=3), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], classes)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.last(self.layers(waveform).mean(-1))


class FocalLoss(nn.Module):
    """Cross entropy that counts what is known already for less (Lin et al. 2017).

    Args:
        gamma: how much less; 0 is cross entropy.

    Shape: logits (batch, classes), numbers of the right classes (batch,) -> ().
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        of_right = torch.log_softmax(logits, 1).gather(1, target[:, None])[:, 0]
        return -((1 - of_right.exp()) ** self.gamma * of_right).mean()
