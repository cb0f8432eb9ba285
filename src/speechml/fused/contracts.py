"""What the fused engine asks of a task beyond the contract of all tasks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from speechml.contracts import DataModule


class FixedInputs(Protocol):
    """A classifier whose network is given the same numbers of an item at every step."""

    net: nn.Module
    label_smoothing: float

    def fixed_inputs(self, data: DataModule) -> tuple[Tensor, Tensor]:
        """What the network is given of every item of the data, by number, and which output is right.

        Shape: (items, inputs), (items,).
        """


class OrderedData(Protocol):
    """What it asks of a data module beyond the contract of all."""

    def training_order(self, epoch: int) -> tuple[Tensor, list[int]]:
        """The training items of an epoch, in their order, and how many each batch has. Shape: (items,)."""
