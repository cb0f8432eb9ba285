"""Data modules for denoising: pairs of a noisy and a clean waveform, gathered by index on the device that computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.data.pack import Pack, fingerprint
from speechml.errors import BadInput
from speechml.signal.random import key, permutation

PARTS = ("train", "val", "test")


class Picks(NamedTuple):
    """Which items a batch consists of; the waveforms are gathered where they are needed."""

    part: str  # train: `numbers` count clips; val, test: whole recordings
    epoch: int
    numbers: Tensor


class PairBatch(NamedTuple):
    """noisy, clean: (batch, 1, time); numbers: (batch,) clip or recording numbers within the corpus."""

    noisy: Tensor
    clean: Tensor
    numbers: Tensor


class PairSource(Protocol):
    """Where pairs come from: packed pairs, or clean speech mixed with noise as it is asked for."""

    def clips(self, picks: Picks) -> tuple[Tensor, Tensor]:
        """Noisy and clean training clips. Shape: (batch, 1, row) twice."""

    def whole(self, picks: Picks) -> tuple[Tensor, Tensor]:
        """Noisy and clean whole recordings of one length. Shape: (batch, 1, time) twice."""

    @property
    def nbytes(self) -> int:
        """Bytes that the samples take."""

    def to(self, device: torch.device) -> PairSource:
        """The source with its samples on another device."""


class PackedPairs:
    """Pairs that lie packed side by side."""

    def __init__(self, noisy: Pack, clean: Pack) -> None:
        self.noisy, self.clean = noisy, clean

    def clips(self, picks: Picks) -> tuple[Tensor, Tensor]:
        return self.noisy.gather_rows(picks.numbers), self.clean.gather_rows(picks.numbers)

    def whole(self, picks: Picks) -> tuple[Tensor, Tensor]:
        return self.noisy.whole(picks.numbers), self.clean.whole(picks.numbers)

    @property
    def nbytes(self) -> int:
        return self.noisy.samples.nbytes + self.clean.samples.nbytes

    def to(self, device: torch.device) -> PackedPairs:
        return PackedPairs(self.noisy.to(device), self.clean.to(device))


class Corpus(NamedTuple):
    """What a data module found: the source, the recordings of each part, and how they were divided."""

    source: PairSource
    names: list[str]
    lengths: list[int]  # samples
    sums: list[str]  # checksums of the recordings
    parts: dict[str, list[int]]  # recordings of train, val and test
    clips: Tensor  # rows of the training recordings
    protocol: str
    notes: list[str]  # what a reader of the scores should know, one sentence each


class Batches:
    """Picks of a part, batch by batch, in an order that is a function of (seed, epoch); one share a rank."""

    def __init__(self, part: str, groups: Callable[[int], list[Tensor]], epoch: Callable[[], int]) -> None:
        self.part, self.groups, self.epoch = part, groups, epoch

    def __len__(self) -> int:
        return len(self.groups(self.epoch()))

    def __iter__(self) -> Iterator[Picks]:
        epoch = self.epoch()
        for index in self.groups(epoch):
            yield Picks(self.part, epoch, index)


class PairsData(pl.LightningDataModule):
    """Base of the denoising data modules: what is common once a corpus is found and divided.

    Args:
        sample_rate: Hz; recordings at another rate are resampled.
        clip_s: length of a training clip in seconds.
        batch_size: clips a batch, over all ranks together.
        split_seed: decides which recordings are test; apart from `seed`, so that runs which differ by seed share a test set.
        seed: order of the training clips.
        cache: folder for packed recordings.
    """

    kind = "pairs"

    def __init__(
        self,
        sample_rate: int,
        clip_s: float,
        batch_size: int,
        split_seed: int,
        seed: int = 0,
        cache: str = "~/.cache/speechml",
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if clip_s <= 0 or sample_rate < 1:
            raise ValueError(f"clip_s {clip_s} and sample_rate {sample_rate} must be positive")
        self.sample_rate, self.clip_s, self.batch_size = sample_rate, clip_s, batch_size
        self.split_seed, self.seed, self.cache = split_seed, seed, Path(cache).expanduser()
        self.row = round(sample_rate * clip_s)
        self._corpus: Corpus | None = None
        self._resident: tuple[torch.device, PairSource] | None = None

    def find(self) -> Corpus:
        """Read and divide the corpus; each data module's own."""
        raise TypeError(f"{type(self).__name__} does not say where its recordings come from")

    @property
    def corpus(self) -> Corpus:
        """The corpus, found on first use."""
        if self._corpus is None:
            corpus = self.find()
            for part in PARTS:
                if not corpus.parts[part]:
                    raise BadInput(
                        f"{type(self).__name__} finds {len(corpus.names)} recordings, too few for a {part} part; "
                        "give at least 3, or folders train/, val/ and test/"
                    )
            self._corpus = corpus
        return self._corpus

    def card(self) -> dict[str, Any]:
        """What a run's card says of its data: protocol, sizes, fingerprints, and what a reader should know."""
        c = self.corpus
        by_part = {part: sorted((c.names[i], c.sums[i]) for i in c.parts[part]) for part in PARTS}
        return {
            "data": type(self).__name__,
            "protocol": c.protocol,
            "split_seed": self.split_seed,
            "sample_rate": self.sample_rate,
            "recordings": {part: len(c.parts[part]) for part in PARTS},
            "seconds": {part: round(sum(c.lengths[i] for i in c.parts[part]) / self.sample_rate, 1) for part in PARTS},
            "fingerprint": fingerprint(by_part, self._draws()),
            "test_fingerprint": fingerprint(by_part["test"], self._draws()),
            "notes": c.notes,
        }

    def heard(self) -> list[str]:
        """Short checksums of the recordings of training and validation: in a later test they would be old acquaintances."""
        c = self.corpus
        return sorted({c.sums[i][:12] for part in ("train", "val") for i in c.parts[part]})

    def _draws(self) -> object:
        """What else decides the test waveforms, beside the recordings."""
        return None

    def train_dataloader(self) -> Batches:
        return Batches("train", self._training_groups, self._epoch)

    def val_dataloader(self) -> Batches:
        return Batches("val", lambda _: self._scoring_groups("val"), self._epoch)

    def test_dataloader(self) -> Batches:
        return Batches("test", lambda _: self._scoring_groups("test"), self._epoch)

    def _epoch(self) -> int:
        trainer: Any = self.trainer
        if trainer is None or trainer.overfit_batches:  # overfitting repeats the batches of epoch 0
            return 0
        return int(trainer.current_epoch)

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _training_groups(self, epoch: int) -> list[Tensor]:
        """Training batches of an epoch, the same for all ranks, then this rank's share of each.

        Every rank takes the same number of steps: a last batch with fewer clips than ranks is left out.
        """
        rank, ranks = self._ranks()
        clips = self.corpus.clips
        order = clips[permutation(key("order", self.seed, epoch), len(clips))]
        return [batch[rank::ranks] for batch in order.split(self.batch_size) if len(batch) >= ranks]

    def _scoring_groups(self, part: str) -> list[Tensor]:
        """Recordings of a part in runs of equal length, each recording on exactly one rank."""
        rank, ranks = self._ranks()
        c = self.corpus
        groups = []
        for _, run in itertools.groupby(c.parts[part][rank::ranks], key=lambda i: c.lengths[i]):
            groups.extend(torch.tensor(list(run)).split(self.batch_size))
        return groups

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002 (Lightning's signature)
        """Turn picks into waveforms on the device that the picks have reached."""
        return self.gather(batch) if isinstance(batch, Picks) else batch

    def gather(self, picks: Picks) -> PairBatch:
        """The waveforms of `picks`, on the device of `picks.numbers`."""
        device = picks.numbers.device
        if self._resident is None or self._resident[0] != device:
            source = self.corpus.source
            self._resident = (device, source.to(device) if fits(source.nbytes, device) else source)
        source = self._resident[1]
        noisy, clean = source.clips(picks) if picks.part == "train" else source.whole(picks)
        return PairBatch(noisy.to(device), clean.to(device), picks.numbers)

    def batches(self, part: str) -> Iterator[PairBatch]:
        """Every clip of `train` or recording of `val` or `test`, in order, on the CPU."""
        c = self.corpus
        groups = list(c.clips.split(self.batch_size)) if part == "train" else self._scoring_groups(part)
        for index in groups:
            yield self.gather(Picks(part, 0, index))


def fits(nbytes: int, device: torch.device) -> bool:
    """Whether packed recordings may move to a device whole: they get at most half of a GPU's free memory."""
    return device.type != "cuda" or nbytes * 2 <= torch.cuda.mem_get_info(device)[0]


def divided(count: int, split_seed: int, shares: tuple[float, float] = (0.2, 0.2)) -> dict[str, list[int]]:
    """Numbers 0 ... count - 1 divided at random into train, val and test.

    Args:
        count: how many; from 3 on, val and test get at least one each.
        split_seed: decides which.
        shares: of val and test.
    """
    order = permutation(key("split", split_seed), count).tolist()
    val, test = (max(1, round(count * share)) if count >= 3 else 0 for share in shares)
    return {
        "test": sorted(order[:test]), "val": sorted(order[test : test + val]), "train": sorted(order[test + val :])
    }  # fmt: skip
