"""Columns of features brought to mean 0 and standard deviation 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST = 1e-12  # what a logarithm is taken of at least, and a standard deviation is


class Standardise(nn.Module):
    """Chosen columns, the logarithms of some of them, minus their mean, over their standard deviation (ddof 1).

    Args:
        columns: numbers of the columns that are kept.
        log: numbers of those whose logarithm is taken first.

    Shape: (batch, feature) -> (batch, len(columns)) float32. Before `fit`, nothing is shifted or scaled.
    """

    def __init__(self, columns: list[int], log: list[int]) -> None:
        super().__init__()
        self.columns = columns
        self.as_log = torch.tensor([column in log for column in columns])
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(len(columns)))
        self.register_buffer("std", torch.ones(len(columns)))

    def fit(self, features: Tensor) -> None:
        """Mean and standard deviation of rows of features, which must be two at least. Shape: (rows, feature)."""
        values = self._values(features.double())
        self.mean.copy_(values.mean(0))
        # A column that does not vary stays 0 instead of NaN.
        self.std.copy_(values.std(0).clamp(min=SMALLEST))

    def _values(self, features: Tensor) -> Tensor:
        values = features[:, self.columns]
        as_log = self.as_log.to(values.device)
        return torch.where(as_log, values.clamp(min=SMALLEST).log(), values)

    def forward(self, features: Tensor) -> Tensor:
        return ((self._values(features) - self.mean) / self.std).float()
