"""Data modules for denoising: pairs of a noisy and a clean waveform, loaded by number on the device that computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechml.contracts import IndexBatch, ItemKind, PairBatch, PairSource, TrainingItems
from speechml.data.base import BaseDataModule, DataOptions, fits
from speechml.data.provenance import Noise, Provenance, content_keys, is_constant, samples_of
from speechml.data.splits import speaker_in
from speechml.errors import UserError
from speechml.storage.pack import Pack, PackedCorpus

STATISTICS = "level, mean and deviation"  # which tasks fit in their `prepare`, of `batches("train")`
SCORED_S = 120.0  # seconds of recordings that are scored together, at most, where they are several


@dataclass
class PackedPairs:
    """Pairs that lie packed side by side; see `contracts.PairSource`."""

    noisy: Pack
    clean: Pack
    changes: ClassVar[bool] = False

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


class PairCorpus(NamedTuple):
    """What a data module has read: where pairs come from, and how they are split; see `base.Corpus`."""

    source: PairSource
    names: list[str]
    lengths: list[int]
    sums: list[str]
    splits: dict[str, list[int]]
    clips: Tensor  # rows of the training recordings
    protocol: str
    notes: list[str]


def packed_pairs(found: PackedCorpus, splits: dict[str, list[int]], protocol: str, notes: list[str]) -> PairCorpus:
    """A corpus of pairs that lie in one pack, with the roles `noisy` and `clean`."""
    noisy, clean = found.roles["noisy"], found.roles["clean"]
    return PairCorpus(
        source=PackedPairs(noisy, clean), names=found.names, lengths=clean.lengths.tolist(), sums=found.sums, splits=splits,
        clips=clean.training_rows(splits["train"]), protocol=protocol, notes=notes,
    )  # fmt: skip


class PairOptions(DataOptions, total=False):
    """What every data module of pairs takes; see `PairDataModule`."""

    clip_s: float


class PairDataModule(BaseDataModule[PairCorpus]):
    """Base of the denoising data modules: what is common once pairs are read and split.

    Args:
        clip_s: length of a training clip in seconds.
        common: what every data module takes.
    """

    kind = ItemKind.PAIRS

    def __init__(self, clip_s: float, **common: Unpack[DataOptions]) -> None:
        super().__init__(**common)
        if clip_s <= 0:
            raise ValueError(f"clip_s is {clip_s}; it must be positive")
        self.clip_s = clip_s
        self.row = round(self.sample_rate * clip_s)
        self._resident: tuple[torch.device, PairSource] | None = None
        self.training_items: TrainingItems | None = None  # what an epoch consists of, where it is not of clips

    def provenance(self) -> Provenance:
        """Of packed pairs: noisy and clean waveforms are compared, each by itself; speakers are known where names carry them."""
        c = self.corpus
        if not isinstance(c.source, PackedPairs):
            return super().provenance()
        packs = {"noisy waveform": c.source.noisy, "clean waveform": c.source.clean}
        return Provenance(
            content_keys={of: content_keys(pack) for of, pack in packs.items()},
            silent=lambda of, i: is_constant(samples_of(packs[of], i)),
            fitted=c.splits["train"], statistics=STATISTICS, noise=Noise(None, {}),
            sources={"speaker": [speaker_in(name) for name in c.names]},
        )  # fmt: skip

    def unpaired(self) -> list[tuple[str, NDArray[np.float32]]]:
        """Names and waveforms (time,) of noisy recordings without a clean one: they can only be listened to."""
        return []

    def set_training_items(self, make: Callable[[dict[int, int], int], TrainingItems] | None) -> None:
        """Train on what a task makes of the recordings from now on, or on clips where `make` is None.

        Args:
            make: takes the length in samples of each training recording by its number, and the seed of the order.

        Raises:
            UserError: the training recordings are too short for a single item.
        """
        if self.is_foreign:  # nothing is trained on
            return
        if make is None and len(self.corpus.clips) == 0:
            raise UserError(
                f"the training part is shorter than one clip of {self.clip_s} s", fix="set data.clip_s, or give more"
            )
        lengths = {i: self.corpus.lengths[i] for i in self.corpus.splits["train"]}
        self.training_items = make(lengths, self.seed) if make else None

    @property
    def items_per_epoch(self) -> int:
        return len(self.corpus.clips if self.training_items is None else self.training_items)

    def _groups_of(self, epoch: int) -> list[Tensor]:
        if self.training_items is not None:
            return self.training_items.groups(epoch, self.batch_size)
        return self._shuffled(self.corpus.clips, epoch)

    def _scoring_groups(self, *splits: list[int]) -> list[Tensor]:
        """Recordings of splits in runs of equal length, each recording on exactly one rank."""
        rank, ranks = self._ranks()
        recordings = sorted({i for split in splits for i in split})
        groups: list[Tensor] = []
        for _, run in itertools.groupby(recordings[rank::ranks], key=lambda i: self.corpus.lengths[i]):
            indices = torch.tensor(list(run))
            most = max(1, int(SCORED_S * self.sample_rate) // self.corpus.lengths[int(indices[0])])
            groups.extend(indices.split(min(self.batch_size, most)))
        return groups

    def load_batch(self, batch: IndexBatch) -> NamedTuple:
        """A PairBatch, or in training what a task makes of it, on the device of `batch.indices`."""
        device = batch.indices.device
        if self._resident is None or self._resident[0] != device:
            source = self.corpus.source
            self._resident = (device, source.to(device) if fits(source.nbytes, device) else source)
        source = self._resident[1]
        if batch.split == "train" and self.training_items is not None:
            return self.training_items.load_batch(batch, source)
        noisy, clean = source.clips(batch) if batch.split == "train" else source.whole(batch)
        return PairBatch(noisy.to(device), clean.to(device), batch.indices)

    def batches(self, split: str) -> Iterator[NamedTuple]:
        """Every training item of epoch 0, or recording of `val` or `test`, on the CPU."""
        groups = self._scoring_groups(self.corpus.splits[split])
        if split == "train":
            clips = self.training_items is None
            groups = list(self.corpus.clips.split(self.batch_size)) if clips else self._groups_of(0)
        for indices in groups:
            yield self.load_batch(IndexBatch(split, 0, indices))
