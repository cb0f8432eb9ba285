"""Data modules for denoising: pairs of a noisy and a clean waveform, gathered by index on the device that computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from speechml.data.frames import FrameBatch, Framing, Runs, Windows
from speechml.data.pack import fingerprint
from speechml.data.sources import PairBatch, PairSource, Picks
from speechml.errors import BadInput
from speechml.signal.random import key, permutation

PARTS = ("train", "val", "test")
SCORED_S = 120.0  # seconds of recordings that are scored together, at most, where they are several


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
        self.foreign = False  # whether a run is scored on these data that was trained on others
        self.frames: Windows | Runs | None = None  # what an epoch consists of, where it is not of clips

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

    def known(self, heard: list[str]) -> int:
        """How many test recordings are among those that a run has `heard`."""
        before = {mark.partition(":")[0] for mark in heard}
        return sum(self.corpus.sums[i][:12] in before for i in self.corpus.parts["test"])

    def scored(self) -> dict[str, list[int]]:
        """The recordings that a test scores, by the name that their scores begin with."""
        return {"test": self.corpus.parts["test"]}

    @property
    def validation_is_known(self) -> bool:
        """Whether the validation recordings are trained on as well, so that their scores say nothing."""
        return False

    def unpaired(self) -> list[tuple[str, np.ndarray]]:
        """Names and waveforms (time,) of noisy recordings without a clean one: they can only be listened to."""
        return []

    def cut_into(self, framing: Framing | None) -> None:
        """Train on windows or runs of frames from now on, or on clips where `framing` is None.

        Raises:
            BadInput: the training recordings are shorter than one window.
        """
        self.frames = None
        if framing is None and len(self.corpus.clips) == 0:
            raise BadInput(
                f"the training part is shorter than one clip of {self.clip_s} s; set data.clip_s, or give more"
            )
        if framing is not None:
            kind = Windows if framing.sampling == "windows" else Runs
            lengths = {i: self.corpus.lengths[i] for i in self.corpus.parts["train"]}
            self.frames = kind(lengths, framing, self.seed)
            if len(self.frames) == 0:
                window = ((framing.frames - 1) * framing.stft.hop + framing.stft.n_fft) / self.sample_rate
                longest = max(lengths.values()) / self.sample_rate
                raise BadInput(
                    f"the training recordings (the longest has {longest:.2f} s) are shorter than one window of "
                    f"{framing.frames} frames ({window:.2f} s); give longer ones, or model.padding=silent"
                )

    @property
    def items(self) -> int:
        """Training items of an epoch: clips, windows or runs."""
        return len(self.corpus.clips if self.frames is None else self.frames)

    def _draws(self) -> object:
        """What else decides the test waveforms, beside the recordings."""
        return None

    def train_dataloader(self) -> Batches:
        return Batches("train", self._training_groups, self._epoch)

    def val_dataloader(self) -> Batches:
        return Batches("val", lambda _: self._scoring_groups(self.corpus.parts["val"]), self._epoch)

    def test_dataloader(self) -> Batches:
        return Batches("test", lambda _: self._scoring_groups(*self.scored().values()), self._epoch)

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
        return [batch[rank::ranks] for batch in self._groups_of(epoch) if len(batch) >= ranks]

    def _groups_of(self, epoch: int) -> list[Tensor]:
        """Training batches of an epoch, as numbers of their items."""
        if self.frames is not None:
            return self.frames.groups(epoch, self.batch_size)
        clips = self.corpus.clips
        return list(clips[permutation(key("order", self.seed, epoch), len(clips))].split(self.batch_size))

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

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002 (Lightning's signature)
        """Turn picks into waveforms on the device that the picks have reached."""
        return self.gather(batch) if isinstance(batch, Picks) else batch

    def gather(self, picks: Picks) -> PairBatch | FrameBatch:
        """The waveforms of `picks`, or the frames, on the device of `picks.numbers`."""
        device = picks.numbers.device
        if self._resident is None or self._resident[0] != device:
            source = self.corpus.source
            self._resident = (device, source.to(device) if fits(source.nbytes, device) else source)
        source = self._resident[1]
        if picks.part == "train" and self.frames is not None:
            return self.frames.gather(picks, source)
        noisy, clean = source.clips(picks) if picks.part == "train" else source.whole(picks)
        return PairBatch(noisy.to(device), clean.to(device), picks.numbers)

    def batches(self, part: str) -> Iterator[Any]:
        """Every training item of epoch 0, or recording of `val` or `test`, on the CPU."""
        groups = self._scoring_groups(self.corpus.parts[part])
        if part == "train":
            groups = list(self.corpus.clips.split(self.batch_size)) if self.frames is None else self._groups_of(0)
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
