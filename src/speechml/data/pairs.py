"""Data modules for denoising: pairs of a noisy and a clean waveform, gathered by index on the device that computes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor

from speechml.contracts import IndexBatch, ItemKind, PairBatch
from speechml.data.base import BaseDataModule, DataOptions, fits
from speechml.data.frames import FrameBatch, Framing, Runs, Windows
from speechml.data.provenance import Noise, Provenance, content_keys, is_constant, samples_of, speaker_in
from speechml.data.sources import PackedPairs, PairSource
from speechml.errors import UserError

STATISTICS = "level, mean and deviation"  # which tasks fit in their `prepare`, of `batches("train")`
SCORED_S = 120.0  # seconds of recordings that are scored together, at most, where they are several


class PairCorpus(NamedTuple):
    """What a data module found: the source, the recordings of each part, and how they were divided."""

    source: PairSource
    names: list[str]
    lengths: list[int]  # samples
    sums: list[str]  # checksums of the recordings
    splits: dict[str, list[int]]  # recordings of train, val and test
    clips: Tensor  # rows of the training recordings
    protocol: str
    notes: list[str]  # what a reader of the scores should know, one sentence each


class PairOptions(DataOptions, total=False):
    """What every data module of pairs takes; see `PairDataModule`."""

    clip_s: float


class PairDataModule(BaseDataModule[PairCorpus]):
    """Base of the denoising data modules: what is common once pairs are found and divided.

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
        self.frames: Windows | Runs | None = None  # what an epoch consists of, where it is not of clips

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

    def unpaired(self) -> list[tuple[str, np.ndarray]]:
        """Names and waveforms (time,) of noisy recordings without a clean one: they can only be listened to."""
        return []

    def cut_into(self, framing: Framing | None) -> None:
        """Train on windows or runs of frames from now on, or on clips where `framing` is None.

        Raises:
            UserError: the training recordings are shorter than one window.
        """
        if self.is_foreign:  # nothing is trained on
            return
        self.frames = None
        if framing is None and len(self.corpus.clips) == 0:
            raise UserError(
                f"the training part is shorter than one clip of {self.clip_s} s; set data.clip_s, or give more"
            )
        if framing is not None:
            kind = Windows if framing.sampling == "windows" else Runs
            lengths = {i: self.corpus.lengths[i] for i in self.corpus.splits["train"]}
            self.frames = kind(lengths, framing, self.seed)
            if len(self.frames) == 0:
                window = ((framing.frames - 1) * framing.stft.hop + framing.stft.n_fft) / self.sample_rate
                longest = max(lengths.values()) / self.sample_rate
                raise UserError(
                    f"the training recordings (the longest has {longest:.2f} s) are shorter than one window of "
                    f"{framing.frames} frames ({window:.2f} s); give longer ones, or model.padding=silent"
                )

    @property
    def items_per_epoch(self) -> int:
        return len(self.corpus.clips if self.frames is None else self.frames)

    def _groups_of(self, epoch: int) -> list[Tensor]:
        if self.frames is not None:
            return self.frames.groups(epoch, self.batch_size)
        return self._shuffled(self.corpus.clips, epoch)

    def _scoring_groups(self, *parts: list[int]) -> list[Tensor]:
        """Recordings of parts in runs of equal length, each recording on exactly one rank."""
        rank, ranks = self._ranks()
        recordings = sorted({i for part in parts for i in part})
        groups = []
        for _, run in itertools.groupby(recordings[rank::ranks], key=lambda i: self.corpus.lengths[i]):
            numbers = torch.tensor(list(run))
            most = max(1, int(SCORED_S * self.sample_rate) // self.corpus.lengths[int(numbers[0])])
            groups.extend(numbers.split(min(self.batch_size, most)))
        return groups

    def load_batch(self, batch: IndexBatch) -> PairBatch | FrameBatch:
        """The waveforms of `batch`, or the frames, on the device of `batch.indices`."""
        device = batch.indices.device
        if self._resident is None or self._resident[0] != device:
            source = self.corpus.source
            self._resident = (device, source.to(device) if fits(source.nbytes, device) else source)
        source = self._resident[1]
        if batch.split == "train" and self.frames is not None:
            return self.frames.load_batch(batch, source)
        noisy, clean = source.clips(batch) if batch.split == "train" else source.whole(batch)
        return PairBatch(noisy.to(device), clean.to(device), batch.indices)

    def batches(self, part: str) -> Iterator[Any]:
        """Every training item of epoch 0, or recording of `val` or `test`, on the CPU."""
        groups = self._scoring_groups(self.corpus.splits[part])
        if part == "train":
            groups = list(self.corpus.clips.split(self.batch_size)) if self.frames is None else self._groups_of(0)
        for index in groups:
            yield self.load_batch(IndexBatch(part, 0, index))
