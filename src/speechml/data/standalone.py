"""The items of a data module one by one, for loops without a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from speechml.contracts import SPLITS, IndexBatch
from speechml.data.pairs import PairDataModule
from speechml.errors import UserError

if TYPE_CHECKING:
    from speechml.data.base import BaseDataModule


class Items(Dataset[tuple[Tensor, Tensor]]):
    """The items of a split by number: (noisy, clean), (waveform, label) or (features, label), as torch's DataLoader takes them.

    Pairs are clips in training, as a training has them, and whole recordings elsewhere.

    Args:
        data: whose items they are.
        split: train, val or test.
        epoch: of training items that are mixed anew in each.

    Raises:
        UserError: no such split.
    """

    def __init__(self, data: BaseDataModule[Any], split: str, epoch: int = 0) -> None:
        if split not in SPLITS:
            raise UserError(f"there is no split {split!r}", fix=f"choose {', '.join(SPLITS)}")
        self.data, self.split, self.epoch = data, split, epoch
        has_clips = split == "train" and isinstance(data, PairDataModule)
        self.items = data.corpus.clips.tolist() if has_clips else data.splits[split]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Shape: waveforms (1, time), features (column,), labels ()."""
        batch = self.data.load_batch(IndexBatch(self.split, self.epoch, torch.tensor([self.items[number]])))
        return batch[0][0], batch[1][0]
