"""Data modules for denoising: pairs of a noisy and a clean waveform, loaded by number on the device that computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechml.contracts import IndexBatch, ItemKind, PairBatch, PairSource, TrainingItems
from speechml.data import schema
from speechml.data.base import BaseDataModule, Corpus
from speechml.data.provenance import Noise, Provenance, content_keys, is_constant, speaker_in
from speechml.errors import UserError
from speechml.storage.pack import Pack, PackedCorpus, move

UNKNOWN_NOISE = Noise(None, {})
SCORED_S = 120.0  # seconds of recordings that are scored together, at most, where they are several


@dataclass
class PackedPairs:
    """Pairs that lie packed side by side; see `contracts.PairSource`."""

    noisy: Pack
    clean: Pack
    changes: ClassVar[bool] = False

    def load(self, batch: IndexBatch, take: Callable[[Pack], Tensor]) -> tuple[Tensor, Tensor]:  # noqa: ARG002 (mixtures need it)
        return take(self.noisy), take(self.clean)

    @property
    def packs(self) -> dict[str, Pack]:
        return {"noisy waveform": self.noisy, "clean waveform": self.clean}

    def to(self, device: torch.device) -> PackedPairs:
        return PackedPairs(*move(device, self.noisy, self.clean))


@dataclass(kw_only=True)
class PairCorpus(Corpus):
    """Where pairs come from, and `clips`, the rows of the training recordings."""

    source: PairSource
    clips: Tensor


def packed_pairs(
    pack: PackedCorpus, splits: dict[str, list[int]], protocol: str, notes: Iterable[str] = (),
    speakers: Sequence[str | None] | None = None, noise: Noise = UNKNOWN_NOISE,
) -> PairCorpus:  # fmt: skip
    """A corpus of pairs that lie in one pack, with the roles `noisy` and `clean`."""
    noisy, clean = pack.roles["noisy"], pack.roles["clean"]
    return PairCorpus(
        source=PackedPairs(noisy, clean), names=pack.names, lengths=clean.lengths.tolist(), sums=pack.sums, splits=splits,
        clips=clean.training_rows(splits["train"]), protocol=protocol, notes=[*pack.notes, *notes], noise=noise,
        speakers=speakers or [speaker_in(name) for name in pack.names],
    )  # fmt: skip


class PairDataModule(schema.Pairs, BaseDataModule[PairCorpus]):
    """Base of the denoising data modules: what is common once pairs are read and split."""

    kind = ItemKind.PAIRS
    statistics = "level, mean and deviation"

    def __init__(self, **keys: object) -> None:
        super().__init__(**keys)
        self.row = round(self.sample_rate * self.clip_s)  # samples of a training clip
        self.training_items: TrainingItems | None = None  # what an epoch consists of, where it is not of clips
        self._sources: dict[torch.device, PairSource] = {}

    def provenance(self) -> Provenance:
        """Waveforms that lie in packs are compared, each role by itself."""
        packs, known = self.corpus.source.packs, super().provenance()
        return known._replace(
            content_keys={role: content_keys(pack) for role, pack in packs.items()},
            silent=lambda role, item: is_constant(packs[role].recording(item)),
        )

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
            what = f"the training split is shorter than one clip of {self.clip_s} s"
            raise UserError(what, fix="set data.clip_s, or give more")
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
        groups: list[Tensor] = []
        lengths = self.corpus.lengths
        for length, run in itertools.chain(
            *(itertools.groupby(self._share(split), key=lengths.__getitem__) for split in splits)
        ):
            most = max(1, int(SCORED_S * self.sample_rate) // length)
            groups.extend(torch.tensor(list(run)).split(min(self.batch_size, most)))
        return groups

    def scored_items(self) -> dict[str, list[int]]:
        """The test recordings, and those of training where what was published is of them as well."""
        training = {"train": self.corpus.splits["train"]} if self.scores_training and not self.is_foreign else {}
        return {**training, **super().scored_items()}

    def load_batch(self, batch: IndexBatch) -> NamedTuple:
        """A PairBatch, or in training what a task makes of it, on the device of `batch.indices`."""
        device, indices = batch.indices.device, batch.indices
        if device not in self._sources:
            self._sources[device] = self.corpus.source.to(device)
        source = self._sources[device]
        if batch.split == "train" and self.training_items is not None:
            return self.training_items.load_batch(batch, source)
        take = Pack.gather_rows if batch.split == "train" else Pack.whole
        noisy, clean = source.load(batch, lambda pack: take(pack, indices))
        return PairBatch(noisy.to(device), clean.to(device), indices)

    def batches(self, split: str) -> Iterator[NamedTuple]:
        """Every training item of epoch 0, or recording of `val` or `test`, on the CPU."""
        groups = self._scoring_groups(self.corpus.splits[split])
        if split == "train":
            clips = self.training_items is None
            groups = list(self.corpus.clips.split(self.batch_size)) if clips else self._groups_of(0)
        for indices in groups:
            yield self.load_batch(IndexBatch(split, 0, indices))
