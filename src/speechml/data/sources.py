"""Where pairs of waveforms come from, and how a batch names the ones it wants."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from speechml.contracts import IndexBatch
from speechml.storage.pack import Pack


class PairSource(Protocol):
    """Where pairs come from: packed pairs, or clean speech mixed with noise as it is asked for."""

    changes: bool  # whether training waveforms are others in every epoch

    def clips(self, batch: IndexBatch) -> tuple[Tensor, Tensor]:
        """Noisy and clean training clips. Shape: (batch, 1, row) twice."""

    def whole(self, batch: IndexBatch) -> tuple[Tensor, Tensor]:
        """Noisy and clean whole recordings of one length. Shape: (batch, 1, time) twice."""

    def stretches(self, batch: IndexBatch, recordings: Tensor, first: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Noisy and clean samples from `first` (batch,) on, zeros beyond the recordings. Shape: (batch, 1, length) twice."""

    @property
    def nbytes(self) -> int:
        """Bytes that the samples take."""

    def to(self, device: torch.device) -> PairSource:
        """The source with its samples on another device."""


class PackedPairs:
    """Pairs that lie packed side by side."""

    changes = False

    def __init__(self, noisy: Pack, clean: Pack) -> None:
        self.noisy, self.clean = noisy, clean

    def clips(self, batch: IndexBatch) -> tuple[Tensor, Tensor]:
        return self.noisy.gather_rows(batch.indices), self.clean.gather_rows(batch.indices)

    def whole(self, batch: IndexBatch) -> tuple[Tensor, Tensor]:
        return self.noisy.whole(batch.indices), self.clean.whole(batch.indices)

    def stretches(self, batch: IndexBatch, recordings: Tensor, first: Tensor, length: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002 (mixtures need it)
        return self.noisy.stretches(recordings, first, length), self.clean.stretches(recordings, first, length)

    @property
    def nbytes(self) -> int:
        return self.noisy.samples.nbytes + self.clean.samples.nbytes

    def to(self, device: torch.device) -> PackedPairs:
        return PackedPairs(self.noisy.to(device), self.clean.to(device))
