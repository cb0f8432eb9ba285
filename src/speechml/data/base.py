"""What all data modules share: a corpus in three splits, and batches by number, loaded on the device that computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, Protocol, TypedDict, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.contracts import SPLITS, DataSpec, IndexBatch, ItemKind
from speechml.data.provenance import Provenance
from speechml.errors import UserError
from speechml.runs.card import DataCard
from speechml.signal.random import key, permutation
from speechml.storage.pack import fingerprint


class Corpus(Protocol):
    """A corpus as far as every data module knows it: what there is, and how it is split."""

    @property
    def names(self) -> list[str]: ...
    @property
    def lengths(self) -> list[int]: ...  # samples
    @property
    def sums(self) -> list[str]: ...  # checksums
    @property
    def splits(self) -> dict[str, list[int]]: ...  # numbers of the items of train, val and test
    @property
    def protocol(self) -> str: ...
    @property
    def notes(self) -> list[str]: ...  # what a reader of the scores should know, one sentence each


CorpusT = TypeVar("CorpusT", bound=Corpus)


class DataOptions(TypedDict, total=False):
    """What every data module takes; see `BaseDataModule`."""

    sample_rate: int
    batch_size: int
    split_seed: int
    seed: int
    cache: str


class Batches:
    """Item numbers of a split, batch by batch, in an order that is a function of (seed, epoch); one share a rank.

    Args:
        split: train, val or test.
        groups: the numbers of the items of each batch of an epoch.
        epoch: which one it is, asked at the first batch.
        first: number of the batch to begin with, asked then too: a resumed run begins within an epoch.
    """

    def __init__(
        self,
        split: str,
        groups: Callable[[int], list[Tensor]],
        epoch: Callable[[], int],
        first: Callable[[], int] = int,
    ) -> None:
        self.split, self.groups, self.epoch, self.first = split, groups, epoch, first

    def __len__(self) -> int:
        return len(self.groups(self.epoch()))

    def __iter__(self) -> Iterator[IndexBatch]:
        epoch = self.epoch()
        for indices in self.groups(epoch)[self.first() :]:
            yield IndexBatch(self.split, epoch, indices)

    def state_dict(self) -> dict[str, object]:
        """Nothing: the trainer knows the position. Lightning warns of loaders that have no such method."""
        return {}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Nothing to load."""


class BaseDataModule(pl.LightningDataModule, Generic[CorpusT]):
    """Base of the data modules: what is common once a corpus is read and split.

    Args:
        sample_rate: Hz; recordings at another rate are resampled. None where the items are no recordings.
        batch_size: items a batch, over all ranks together.
        split_seed: decides which recordings are test; apart from `seed`, so that runs which differ by seed share a test set.
        seed: order of the training items.
        cache: folder for packed recordings.
    """

    kind: ClassVar[ItemKind]
    item_name: ClassVar[str] = "recordings"
    min_batch_per_rank: ClassVar[int] = 1
    validation_is_trained_on = False  # whether validation items are training items as well

    def __init__(
        self, sample_rate: int | None, batch_size: int, split_seed: int, seed: int = 0, cache: str = "~/.cache/speechml"
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if sample_rate is not None and sample_rate < 1:
            raise ValueError(f"sample_rate is {sample_rate}; it must be positive")
        self.sample_rate = sample_rate or 0
        self.batch_size = batch_size
        self.split_seed, self.seed, self.cache = split_seed, seed, Path(cache).expanduser()
        self.is_foreign = False  # whether a run is scored on these data that was trained on others
        self._corpus: CorpusT | None = None
        self._card: DataCard | None = None

    def read_corpus(self) -> CorpusT:
        """Read and split the corpus; each data module's own."""
        raise TypeError(f"{type(self).__name__} does not say where its recordings come from")

    @property
    def corpus(self) -> CorpusT:
        """The corpus, read on first use.

        Raises:
            UserError: it cannot be read, or a split is empty.
        """
        if self._corpus is None:
            corpus = self.read_corpus()
            for split in SPLITS:
                if not corpus.splits[split]:
                    raise UserError(
                        f"{type(self).__name__} finds {len(corpus.names)} {self.item_name}, too few for a {split} part",
                        fix=self.remedy(split),
                    )
            self._corpus = corpus
        return self._corpus

    def remedy(self, split: str) -> str:  # noqa: ARG002 (for data modules that know more)
        """What to do about a split that is empty."""
        return "give at least 3, or folders train/, val/ and test/"

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
            kind=self.kind, item_name=self.item_name, sample_rate=self.sample_rate or None, classes=tuple(self.classes),
            min_batch_per_rank=self.min_batch_per_rank, scored_splits=tuple(self.scored_items()),
            validation_is_trained_on=self.validation_is_trained_on, fingerprint=card.fingerprint,
            test_fingerprint=card.test_fingerprint,
        )  # fmt: skip

    def card(self) -> DataCard:
        """What a run's card says of its data: protocol, sizes, fingerprints, and what a reader should know."""
        if self._card is None:
            c = self.corpus
            by_split = {split: sorted(self._identity(i) for i in c.splits[split]) for split in SPLITS}
            self._card = DataCard(
                data=type(self).__name__, protocol=c.protocol, split_seed=self.split_seed,
                sample_rate=self.sample_rate or None, called=self.item_name,
                recordings={split: len(c.splits[split]) for split in SPLITS},
                seconds={split: round(self._seconds(split), 1) for split in SPLITS},
                fingerprint=fingerprint(by_split, self._mixture()),
                test_fingerprint=fingerprint(by_split["test"], self._mixture()),
                notes=c.notes, classes=self.classes or None,
            )  # fmt: skip
        return self._card

    def _seconds(self, split: str) -> float:
        """How long the recordings of a split are together, in s."""
        return sum(self.corpus.lengths[i] for i in self.corpus.splits[split]) / self.sample_rate

    def _identity(self, item: int) -> tuple[str, ...]:
        """What makes an item the one it is."""
        return (self.corpus.names[item], self.corpus.sums[item])

    def _mixture(self) -> object:
        """What else decides the test items, beside the recordings."""
        return None

    def provenance(self) -> Provenance:
        """What is known of the items, for an audit of the splits; here that equal checksums are equal items, and no more."""
        c = self.corpus
        nobody: list[str | None] = [None] * len(c.names)
        return Provenance(
            content_keys={"": c.sums}, silent=lambda *_: False, fitted=c.splits["train"], sources={"speaker": nobody}
        )

    def train_val_checksums(self) -> list[str]:
        """Short checksums of the recordings of training and validation, by which a later test knows them again."""
        c = self.corpus
        return sorted({c.sums[i][:12] for split in ("train", "val") for i in c.splits[split]})

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
        return Batches("train", self._training_groups, self._epoch, self._first)

    def val_dataloader(self) -> Batches:
        return Batches("val", lambda _: self._scoring_groups(self.corpus.splits["val"]), self._epoch)

    def test_dataloader(self) -> Batches:
        return Batches("test", lambda _: self._scoring_groups(*self.scored_items().values()), self._epoch)

    def _epoch(self) -> int:
        trainer = self.trainer
        if trainer is None or trainer.overfit_batches:  # type: ignore[attr-defined] # overfitting repeats epoch 0
            return 0
        return trainer.current_epoch

    def _first(self) -> int:
        """Number of the batch that the trainer takes next."""
        return 0 if self.trainer is None else self.trainer.fit_loop.epoch_loop.batch_progress.current.completed

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
        rank, ranks = self._ranks()
        return list(torch.tensor(sorted({i for split in splits for i in split})[rank::ranks]).split(self.batch_size))

    def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:  # noqa: ARG002 (Lightning's signature)
        """Load an IndexBatch on the device that its numbers have reached."""
        return self.load_batch(batch) if isinstance(batch, IndexBatch) else batch

    def load_batch(self, batch: IndexBatch) -> NamedTuple:
        """The items of an IndexBatch, on the device of its `indices`."""
        raise TypeError(f"{type(self).__name__} cannot load {batch.split}")


def fits(nbytes: int, device: torch.device) -> bool:
    """Whether packed recordings may move to a device whole: they get at most half of a GPU's free memory."""
    return device.type != "cuda" or nbytes * 2 <= torch.cuda.mem_get_info(device)[0]


def random_split(count: int, split_seed: int, shares: tuple[float, float] = (0.2, 0.2)) -> dict[str, list[int]]:
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
