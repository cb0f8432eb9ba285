"""What all data modules share: a corpus in three parts, and batches by number, gathered on the device that computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.data.provenance import Origins
from speechml.errors import UserError
from speechml.signal.random import key, permutation
from speechml.storage.pack import fingerprint

PARTS = ("train", "val", "test")


class Picks(NamedTuple):
    """Which items a batch consists of; the waveforms are gathered where they are needed."""

    part: str  # train: `numbers` count clips, windows or runs; val, test: whole recordings
    epoch: int
    numbers: Tensor


class Divided(Protocol):
    """A corpus as far as every data module knows it: what was found, and how it was divided."""

    @property
    def names(self) -> list[str]: ...
    @property
    def lengths(self) -> list[int]: ...  # samples
    @property
    def sums(self) -> list[str]: ...  # checksums
    @property
    def parts(self) -> dict[str, list[int]]: ...  # recordings of train, val and test
    @property
    def protocol(self) -> str: ...
    @property
    def notes(self) -> list[str]: ...  # what a reader of the scores should know, one sentence each


class Batches:
    """Picks of a part, batch by batch, in an order that is a function of (seed, epoch); one share a rank.

    Args:
        part: train, val or test.
        groups: the numbers of the items of each batch of an epoch.
        epoch: which one it is, asked at the first batch.
        first: number of the batch to begin with, asked then too: a resumed run begins within an epoch.
    """

    def __init__(
        self, part: str, groups: Callable[[int], list[Tensor]], epoch: Callable[[], int], first: Callable[[], int] = int
    ) -> None:
        self.part, self.groups, self.epoch, self.first = part, groups, epoch, first

    def __len__(self) -> int:
        return len(self.groups(self.epoch()))

    def __iter__(self) -> Iterator[Picks]:
        epoch = self.epoch()
        for index in self.groups(epoch)[self.first() :]:
            yield Picks(self.part, epoch, index)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer knows the position. Lightning warns of loaders that have no such method."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""


class PartsData(pl.LightningDataModule):
    """Base of the data modules: what is common once a corpus is found and divided.

    Args:
        sample_rate: Hz; recordings at another rate are resampled. None where the items are no recordings.
        batch_size: items a batch, over all ranks together.
        split_seed: decides which recordings are test; apart from `seed`, so that runs which differ by seed share a test set.
        seed: order of the training items.
        cache: folder for packed recordings.
    """

    called = "recordings"  # what the parts consist of
    least = 1  # items of a rank's share of a training batch
    foreign = False  # whether a run is scored on these data that was trained on others

    def __init__(
        self, sample_rate: int | None, batch_size: int, split_seed: int, seed: int = 0, cache: str = "~/.cache/speechml"
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if sample_rate is not None and sample_rate < 1:
            raise ValueError(f"sample_rate is {sample_rate}; it must be positive")
        self.sample_rate: Any = sample_rate
        self.batch_size = batch_size
        self.split_seed, self.seed, self.cache = split_seed, seed, Path(cache).expanduser()
        self._corpus: Any = None
        self._card: dict[str, Any] | None = None

    def find(self) -> Any:
        """Read and divide the corpus; each data module's own."""
        raise TypeError(f"{type(self).__name__} does not say where its recordings come from")

    @property
    def corpus(self) -> Any:
        """The corpus, found on first use."""
        if self._corpus is None:
            corpus: Divided = self.find()
            for part in PARTS:
                if not corpus.parts[part]:
                    raise UserError(
                        f"{type(self).__name__} finds {len(corpus.names)} {self.called}, too few for a {part} part; "
                        f"{self.remedy(part)}"
                    )
            self._corpus = corpus
        return self._corpus

    def remedy(self, part: str) -> str:  # noqa: ARG002 (for data modules that know more)
        """What to do about a part that is empty."""
        return "give at least 3, or folders train/, val/ and test/"

    def card(self) -> dict[str, Any]:
        """What a run's card says of its data: protocol, sizes, fingerprints, and what a reader should know."""
        if self._card is None:
            c: Divided = self.corpus
            by_part = {part: sorted(self._marks(i) for i in c.parts[part]) for part in PARTS}
            self._card = {
                "data": type(self).__name__,
                "protocol": c.protocol,
                "split_seed": self.split_seed,
                "sample_rate": self.sample_rate,
                "called": self.called,
                "recordings": {part: len(c.parts[part]) for part in PARTS},
                "seconds": {part: round(self._seconds(part), 1) for part in PARTS},
                "fingerprint": fingerprint(by_part, self._draws()),
                "test_fingerprint": fingerprint(by_part["test"], self._draws()),
                "notes": c.notes,
            }
        return self._card

    def _seconds(self, part: str) -> float:
        """How long the recordings of a part are together, in s."""
        total: float = sum(self.corpus.lengths[i] for i in self.corpus.parts[part]) / self.sample_rate
        return total

    def _marks(self, item: int) -> tuple[Any, ...]:
        """What makes an item the one it is."""
        return (self.corpus.names[item], self.corpus.sums[item])

    def _draws(self) -> object:
        """What else decides the test items, beside the recordings."""
        return None

    def origins(self) -> Origins:
        """What is known of the items, for an audit of the parts; here that equal checksums are equal items, and no more."""
        c: Divided = self.corpus
        nobody: list[str | None] = [None] * len(c.names)
        return Origins(
            marks={"": c.sums}, silent=lambda *_: False, fitted=c.parts["train"], sources={"speaker": nobody}
        )

    def heard(self) -> list[str]:
        """Short checksums of the recordings of training and validation: in a later test they would be old acquaintances."""
        c: Divided = self.corpus
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

    @property
    def items(self) -> int:
        """Training items of an epoch: clips, windows or runs."""
        return len(self.corpus.parts["train"])

    def train_dataloader(self) -> Batches:
        return Batches("train", self._training_groups, self._epoch, self._first)

    def val_dataloader(self) -> Batches:
        return Batches("val", lambda _: self._scoring_groups(self.corpus.parts["val"]), self._epoch)

    def test_dataloader(self) -> Batches:
        return Batches("test", lambda _: self._scoring_groups(*self.scored().values()), self._epoch)

    def _epoch(self) -> int:
        trainer: Any = self.trainer
        if trainer is None or trainer.overfit_batches:  # overfitting repeats the batches of epoch 0
            return 0
        return int(trainer.current_epoch)

    def _first(self) -> int:
        """Number of the batch that the trainer takes next."""
        return 0 if self.trainer is None else int(self.trainer.fit_loop.epoch_loop.batch_progress.current.completed)

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _training_groups(self, epoch: int) -> list[Tensor]:
        """Training batches of an epoch, the same for all ranks, then this rank's share of each.

        Every rank takes the same number of steps: a last batch with fewer than `least` items a rank is left out.
        """
        rank, ranks = self._ranks()
        return [batch[rank::ranks] for batch in self._groups_of(epoch) if len(batch) >= self.least * ranks]

    def _groups_of(self, epoch: int) -> list[Tensor]:
        """Training batches of an epoch, as numbers of their items."""
        return self._shuffled(torch.tensor(self.corpus.parts["train"]), epoch)

    def _shuffled(self, items: Tensor, epoch: int) -> list[Tensor]:
        """Items in an order that is a function of (seed, epoch), in batches."""
        return list(items[permutation(key("order", self.seed, epoch), len(items))].split(self.batch_size))

    def _scoring_groups(self, *parts: list[int]) -> list[Tensor]:
        """Items of parts in batches, each item on exactly one rank."""
        rank, ranks = self._ranks()
        return list(torch.tensor(sorted({i for part in parts for i in part})[rank::ranks]).split(self.batch_size))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002 (Lightning's signature)
        """Turn picks into a batch on the device that the picks have reached."""
        return self.gather(batch) if isinstance(batch, Picks) else batch

    def gather(self, picks: Picks) -> Any:
        """The batch of `picks`, on the device of `picks.numbers`."""
        raise TypeError(f"{type(self).__name__} cannot gather {picks.part}")


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
