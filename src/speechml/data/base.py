"""What all data modules share: keys, a corpus in three splits, and batches by number, loaded on the device that computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.config.schema import check_section, keys_of, refuse_value
from speechml.contracts import SPLITS, DataSpec, IndexBatch, ItemKind
from speechml.data import schema
from speechml.data.provenance import Noise, Provenance, shorten
from speechml.errors import UserError
from speechml.runs.card import DataCard
from speechml.signal.random import key, permutation
from speechml.storage.files import expand_home
from speechml.storage.pack import PackedCorpus, Recording, fingerprint, pack_once


@dataclass(kw_only=True)
class Corpus:
    """What a data module has read: items by number, and how they are split.

    Attributes:
        names: of the items.
        lengths: of the items, in samples.
        sums: checksums of the items.
        splits: numbers of the items of train, val and test.
        protocol: how they were split: official, random, speaker, time ...
        notes: what a reader of the scores should know, one sentence each.
        speakers: of the items; empty text where nobody speaks, None where it is not known who.
        noise: what is mixed in, as far as an audit can say.
        mixture: what else decides the test items, as the levels of noise that is mixed in; plain values.
        is_test_set: whether there is nothing to train on.
    """

    names: list[str]
    lengths: list[int]
    sums: list[str]
    splits: dict[str, list[int]]
    protocol: str
    notes: list[str]
    speakers: Sequence[str | None] = ()
    noise: Noise | None = None
    mixture: object = None
    is_test_set: bool = False


CorpusT = TypeVar("CorpusT", bound=Corpus)


@dataclass
class Batches:
    """Item numbers of a split, batch by batch, in an order that is a function of (seed, epoch); one share a rank.

    Attributes:
        split: train, val or test.
        groups: the numbers of the items of each batch of an epoch.
        epoch: which one it is, asked at the first batch.
        first: number of the batch to begin with, asked then too: a resumed run begins within an epoch.
        loader: what loads them of the split, asked then too; None: they are given as numbers.
    """

    split: str
    groups: Callable[[int], list[Tensor]]
    epoch: Callable[[], int]
    first: Callable[[], int] = int
    loader: Callable[[str], Callable[[IndexBatch], NamedTuple] | None] = lambda _: None

    def __len__(self) -> int:
        return len(self.groups(self.epoch()))

    def __iter__(self) -> Iterator[NamedTuple]:
        epoch, load = self.epoch(), self.loader(self.split)
        for indices in self.groups(epoch)[self.first() :]:
            batch = IndexBatch(self.split, epoch, indices)
            yield load(batch) if load else batch

    def sizes(self) -> list[int]:
        """How many items each batch of the epoch has."""
        return [len(indices) for indices in self.groups(self.epoch())]

    def state_dict(self) -> dict[str, object]:
        """Nothing: the trainer knows the position. Lightning warns of loaders that have no such method."""
        return {}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Nothing to load."""


class BaseDataModule(schema.Data, pl.LightningDataModule, Generic[CorpusT]):
    """Base of the data modules: what is common once a corpus is read and split.

    The constructor takes the keys of its schema, by name, and refuses what a config may not hold either.
    """

    kind: ClassVar[ItemKind]
    item_name: ClassVar[str] = "recordings"
    min_batch_per_rank: ClassVar[int] = 1
    statistics: ClassVar[str] = ""  # what tasks fit to the training items before the first step
    remedy = "give at least 3"  # where a split is empty
    validation_is_trained_on = False  # whether validation items are training items as well
    scores_training = False  # whether a test scores the training items as well, where it does not anyway
    is_foreign = False  # whether a run is scored on these data that was trained on others
    derived = cached_property(lambda _: dict[str, object]())  # what was computed of the corpus, for who asks again

    def __init__(self, **keys: object) -> None:
        super().__init__()
        self._passes = 0  # over the training items, of loops without a trainer
        plain = {name: schema.as_plain(value) for name, value in keys.items()}
        plain.setdefault("cache", os.environ.get("SPEECHML_CACHE") or schema.CACHE)  # as conf/paths has it
        check_section(plain, type(self), "data.")
        for name, known in keys_of(type(self)).items():
            value = plain.get(name, known.default)
            setattr(self, name, expand_home(str(value)) if known.is_path and value is not None else value)

    @property
    def cache_folder(self) -> Path:
        """Where packs lie."""
        if not self.cache.strip():
            raise refuse_value("data.cache", "''", "give a folder")
        return expand_home(self.cache)

    def read_corpus(self) -> CorpusT:
        """Read and split the corpus; each data module's own."""
        raise TypeError(f"{type(self).__name__} does not say where its recordings come from")

    @cached_property
    def corpus(self) -> CorpusT:
        """The corpus, read on first use.

        Raises:
            UserError: it cannot be read, or a split is empty.
        """
        corpus = self.read_corpus()
        if getattr(self, "split", None) == "all":
            splits: dict[str, list[int]] = {"train": [], "val": [], "test": list(range(len(corpus.names)))}
            corpus = replace(corpus, splits=splits, protocol="all", is_test_set=True)
        for split in SPLITS if not corpus.is_test_set else ("test",):
            if not corpus.splits[split]:
                what = f"{type(self).__name__} finds {len(corpus.names)} {self.item_name}, too few for a {split} split"
                raise UserError(what, fix=self.remedy)
        return corpus

    def pack(self, name: str, row: int, recordings: Iterable[Recording], total: int) -> PackedCorpus:
        """The pack of a name in the cache, see `pack_once`."""
        return pack_once(self.cache_folder / "packs" / name, row, recordings, total)

    @property
    def item_names(self) -> list[str]:
        """A name for each item, by its number."""
        return self.corpus.names

    @property
    def splits(self) -> dict[str, list[int]]:
        """Numbers of the items of train, val and test."""
        return self.corpus.splits

    @property
    def classes(self) -> list[str]:
        """Names of the labels, in the order of the network's outputs; empty where items have none."""
        return []

    @property
    def spec(self) -> DataSpec:
        """What tasks, cards and audits need to know of the data. Raises UserError where they cannot be used."""
        card = self.card()
        return DataSpec(
            kind=self.kind, item_name=self.item_name, sample_rate=card.sample_rate, classes=tuple(self.classes),
            min_batch_per_rank=self.min_batch_per_rank, scored_splits=tuple(self.scored_items()),
            validation_is_trained_on=self.validation_is_trained_on, fingerprint=card.fingerprint,
            test_fingerprint=card.test_fingerprint,
        )  # fmt: skip

    def card(self) -> DataCard:
        """What a run's card says of its data: protocol, sizes, fingerprints, and what a reader should know."""
        return self._card

    @cached_property
    def _card(self) -> DataCard:
        c = self.corpus
        by_split = {split: sorted(self._identity(i) for i in c.splits[split]) for split in SPLITS}
        return DataCard(
            data=type(self).__name__, protocol=c.protocol, split_seed=self.split_seed,
            sample_rate=getattr(self, "sample_rate", None), called=self.item_name,  # not all items are recordings
            recordings={split: len(c.splits[split]) for split in SPLITS},
            seconds={split: round(self._seconds(split), 1) for split in SPLITS},
            fingerprint=fingerprint(by_split, c.mixture),
            test_fingerprint=fingerprint(by_split["test"], c.mixture),
            notes=c.notes, classes=self.classes or None,
        )  # fmt: skip

    def _seconds(self, split: str) -> float:
        """How long the recordings of a split are together, in s."""
        return sum(self.corpus.lengths[i] for i in self.corpus.splits[split]) / float(getattr(self, "sample_rate", 1))

    def _identity(self, item: int) -> tuple[str, ...]:
        """What makes an item the one it is."""
        return (self.corpus.names[item], self.corpus.sums[item])

    def provenance(self) -> Provenance:
        """What is known of the items, for an audit of the splits; here that equal checksums are equal items."""
        c = self.corpus
        return Provenance(
            content_keys={"": c.sums}, silent=lambda *_: False, fitted=c.splits["train"], statistics=self.statistics,
            sources={"speaker": c.speakers}, noise=c.noise,
        )  # fmt: skip

    def train_val_checksums(self) -> list[str]:
        """Short checksums of the recordings of training and validation, by which a later test knows them again."""
        c = self.corpus
        return sorted({shorten(c.sums[i]) for split in ("train", "val") for i in c.splits[split]})

    def count_seen(self, checksums: list[str]) -> int:
        """How many test items are among those with these `train_val_checksums`."""
        before = {checksum.partition(":")[0] for checksum in checksums}
        return sum(self.corpus.sums[i][:12] in before for i in self.corpus.splits["test"])

    def scored_items(self) -> dict[str, list[int]]:
        """Numbers of the items that a test scores, by the name that their scores begin with."""
        return {"test": self.corpus.splits["test"]}

    def score_as_foreign(self) -> None:
        """Score a run on these data that was trained on others: only the test split counts."""
        self.is_foreign = True

    def keep_classes(self, classes: list[str]) -> None:
        """Use only items of these classes from now on, where the config does not name any."""

    @property
    def items_per_epoch(self) -> int:
        """Training items of an epoch: clips, windows or runs of frames."""
        return len(self.corpus.splits["train"])

    def train_dataloader(self) -> Batches:
        return Batches("train", self._training_groups, self._epoch, self._first, self._load)

    def val_dataloader(self) -> Batches:
        return Batches("val", lambda _: self._scoring_groups(self.corpus.splits["val"]), self._epoch, int, self._load)

    def test_dataloader(self) -> Batches:
        groups = self._scoring_groups
        return Batches("test", lambda _: groups(*self.scored_items().values()), self._epoch, int, self._load)

    def dataset(self, split: str, epoch: int = 0) -> torch.utils.data.Dataset[tuple[Tensor, Tensor]]:
        """The items of a split one by one, for torch's DataLoader: see `standalone.Items`."""
        from speechml.data.standalone import Items

        return Items(self, split, epoch)

    def _asking(self) -> pl.Trainer | None:
        """The trainer whose loop it is; None of anybody else's."""
        return None if self.trainer is None or self.trainer.state.finished else self.trainer

    def _load(self, split: str) -> Callable[[IndexBatch], NamedTuple] | None:
        self._passes += split == "train" and not self._asking()
        return None if self._asking() else self.load_batch  # a trainer has them loaded on its device

    def _epoch(self) -> int:
        if trainer := self._asking():
            return 0 if trainer.overfit_batches else trainer.current_epoch  # type: ignore[attr-defined] # overfitting repeats epoch 0
        return self._passes

    def _first(self) -> int:
        """Number of the batch that the trainer takes next."""
        return trainer.fit_loop.epoch_loop.batch_progress.current.completed if (trainer := self._asking()) else 0

    def _share(self, items: Iterable[int]) -> list[int]:
        """The items that this rank scores, in their order."""
        rank, ranks = self._ranks()
        return sorted(set(items))[rank::ranks]

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _training_groups(self, epoch: int) -> list[Tensor]:
        """Training batches of an epoch, the same for all ranks, then this rank's share of each.

        Every rank takes the same number of steps: a last batch with fewer than `min_batch_per_rank` items a rank is left out.
        """
        rank, ranks = self._ranks()
        least = self.min_batch_per_rank * ranks
        return [batch[rank::ranks] for batch in self._groups_of(epoch) if len(batch) >= least]

    def _groups_of(self, epoch: int) -> list[Tensor]:
        """Training batches of an epoch, as numbers of their items."""
        return self._shuffled(torch.tensor(self.corpus.splits["train"]), epoch)

    def _shuffled(self, items: Tensor, epoch: int) -> list[Tensor]:
        """Items in an order that is a function of (seed, epoch), in batches."""
        return list(items[permutation(key("order", self.seed, epoch), len(items))].split(self.batch_size))

    def _scoring_groups(self, *splits: list[int]) -> list[Tensor]:
        """Items of splits in batches, each item on exactly one rank."""
        return list(torch.tensor(self._share(i for split in splits for i in split)).split(self.batch_size))

    def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:  # noqa: ARG002 (Lightning's signature)
        """Load an IndexBatch on the device that its numbers have reached."""
        return self.load_batch(batch) if isinstance(batch, IndexBatch) else batch

    def load_batch(self, batch: IndexBatch) -> NamedTuple:
        """The items of an IndexBatch, on the device of its `indices`."""
        raise TypeError(f"{type(self).__name__} cannot load {batch.split}")
