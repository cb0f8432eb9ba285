"""Music as rows of hand-made features: one row for half a second of one channel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from speechml.contracts import SPLITS, FeatureBatch, IndexBatch, ItemKind
from speechml.data.base import BaseDataModule, Corpus
from speechml.data.provenance import Provenance
from speechml.music import schema
from speechml.music.feature_files import read_music
from speechml.music.recordings import BLOCK_S, Music
from speechml.music.split import Split, as_published, honest
from speechml.signal.random import key, permutation

SCORED_AT_ONCE = 8192  # rows
PROTOCOLS = {"as_published": as_published, "honest": honest}


@dataclass(kw_only=True)
class FeatureCorpus(Corpus):
    """Rows of features with a label each; lengths are blocks, 1 each."""

    classes: list[str]
    features: Tensor  # (rows, 12)
    labels: Tensor  # (rows,)
    songs: list[str | None]  # of each row; None where it is not known, and moments are not either
    moments: np.ndarray | None  # (rows, 3): song, channel, block in time


class GenreFeatures(schema.GenreFeatures, BaseDataModule[FeatureCorpus]):
    """Rows of hand-made features of music, from a folder of music or from a .npz in the format of DDASP exercise 12.

    `root` is the folder (files named `*_0.mp3`, `*_1.wav` ..., or one folder for each genre) or the .npz file. The
    protocol `as_published` divides rows at random and normalises by all of them; `honest` divides by song or by time, and
    normalises by the training split.
    """

    kind = ItemKind.ROWS
    item_name = "rows"
    statistics = "mean and deviation of the features"
    remedy = "give more music"

    def __init__(self, **keys: object) -> None:
        super().__init__(**keys)
        self._here: tuple[torch.device, Tensor, Tensor] | None = None

    def read_corpus(self) -> FeatureCorpus:
        music = read_music(self.root, self.cache_folder)
        split = Split({}, "all", []) if self.split == "all" else PROTOCOLS[self.protocol](music, self.split_seed)
        moments = np.stack([music.song, music.channel, music.block], axis=1)
        songs = [music.songs[song] if music.songs else None for song in music.song]
        names = [f"{song}/{channel}/{block}" if song else f"row{block}"
                 for song, (_, channel, block) in zip(songs, moments.tolist(), strict=True)]  # fmt: skip
        rows = zip(music.features, music.label.tolist(), strict=True)
        return FeatureCorpus(
            names=names, lengths=[1] * len(names),
            sums=[hashlib.sha256(row.tobytes() + bytes([label])).hexdigest() for row, label in rows],
            splits=split.parts, protocol=split.protocol, notes=[describe_balance(music), *music.notes, *split.notes],
            classes=music.genres, features=torch.from_numpy(music.features).float(), labels=torch.from_numpy(music.label),
            songs=songs, moments=moments if music.songs else None,
        )  # fmt: skip

    @property
    def classes(self) -> list[str]:
        """Names of the genres, in the order of the network's outputs."""
        return list(self.corpus.classes)

    def fitted(self) -> list[int]:
        """The rows whose mean and standard deviation normalise the features: all as published, else those of training."""
        c = self.corpus
        return list(range(len(c.names))) if self.protocol == "as_published" else c.splits["train"]

    def rows_to_fit(self) -> Tensor:
        """The features of `fitted`. Shape: (rows, 12)."""
        return self.corpus.features[self.fitted()]

    def rows(self) -> tuple[Tensor, Tensor]:
        """All features, and the numbers of their genres. Shape: (rows, 12), (rows,)."""
        return self.corpus.features, self.corpus.labels

    def training_order(self, epoch: int) -> tuple[Tensor, list[int]]:
        """The training rows of an epoch on one process, in their order, and how many each batch has."""
        rows, size = self._train_rows, self.batch_size
        counts = [size] * (len(rows) // size) + [len(rows) % size] * bool(len(rows) % size)
        return rows[permutation(key("order", self.seed, epoch), len(rows))], counts

    @cached_property
    def _train_rows(self) -> Tensor:
        return torch.tensor(self.corpus.splits["train"])

    def provenance(self) -> Provenance:
        c = self.corpus
        equal = np.unique(c.features.numpy(), axis=0, return_inverse=True)[1].reshape(-1).tolist()
        return super().provenance()._replace(
            content_keys={"": equal}, fitted=self.fitted(), in_time=c.protocol == "time", sources={"song": c.songs},
            moments=c.moments,
        )  # fmt: skip

    def train_val_checksums(self) -> list[str]:
        """As the base, in one string: every checkpoint holds it, and thousands of strings would take longer to save."""
        return [" ".join(super().train_val_checksums())]

    def count_seen(self, checksums: list[str]) -> int:
        return super().count_seen([mark for several in checksums for mark in several.split()])

    def scored_items(self) -> dict[str, list[int]]:
        """All three parts, as in the exercise; the scores of training rows are called that."""
        parts = self.corpus.splits
        return {"test": parts["test"]} if self.is_foreign else {part: parts[part] for part in SPLITS}

    def _seconds(self, part: str) -> float:
        return len(self.corpus.splits[part]) * BLOCK_S

    def _scoring_groups(self, *parts: list[int]) -> list[Tensor]:
        """Rows in large batches: scores do not depend on it, and rows are small."""
        rows = torch.cat([torch.empty(0, dtype=torch.long), *super()._scoring_groups(*parts)])
        return list(rows.split(SCORED_AT_ONCE))

    def load_batch(self, batch: IndexBatch) -> FeatureBatch:
        """The rows of `batch` on the device of `batch.indices`."""
        device = batch.indices.device
        if self._here is None or self._here[0] != device:
            self._here = device, self.corpus.features.to(device), self.corpus.labels.to(device)
        _, features, labels = self._here
        return FeatureBatch(features[batch.indices], labels[batch.indices], batch.indices)


def describe_balance(music: Music) -> str:
    """What the checks of the exercise found, in words: balance of the classes, and rows that are there twice."""
    counts = np.bincount(music.label)
    shares = ", ".join(f"{genre} {n / len(music.label):.1%}" for genre, n in zip(music.genres, counts, strict=True))
    again = len(music.features) - len(np.unique(music.features, axis=0))
    uneven = "; the classes are out of balance" if counts.max() > 1.5 * counts.min() else ""
    return f"{len(music.label):,} rows: {shares}{uneven}; {again} rows repeat another one"
