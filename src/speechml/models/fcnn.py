"""The fully connected denoiser of lab 2A: far more parameters than there are recordings, and the lesson is that it fails."""

from torch import Tensor, nn


class FCNN(nn.Module):
    """`samples` -> `hidden` -> `samples`, ReLU after both layers, all parameters uniform in [-0.5, 0.5] (lab 2A).

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
