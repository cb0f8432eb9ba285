"""The contracts that everything else is built on: what data say of themselves, what batches hold, what a task, a data module
and the trial of a search do. Nothing heavy is imported."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from lightning.pytorch import Callback
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from torch import Tensor

    from speechml.data.provenance import Provenance
    from speechml.runs.card import DataCard
    from speechml.storage.pack import Pack
    from speechml.tasks.streaming import Stream

SPLITS = ("train", "val", "test")
HIGHEST_RATE = 768_000  # Hz, far beyond what microphones and converters give
Config = dict[str, Any]  # a composed config, or a section of it, as plain containers
TrainBatch = TypeVar("TrainBatch", contravariant=True)
EvalBatch = TypeVar("EvalBatch", contravariant=True)

# Whether more of a score is better; nothing else says so. Runs are compared by these, in this order.
HIGHER_IS_BETTER = {
    "snr_db": True, "si_sdr_db": True, "pesq": True, "stoi": True, "mse": False, "l1": False,
    "acc": True, "macro_f1": True, "loss": False,
}  # fmt: skip
SPLIT_NAME = re.compile(r"^(train|val|test)(?:id|idation|ing)?[/_]")  # as Lightning's users begin the names of scores


def is_higher_better(score: str) -> bool | None:
    """Whether more of a score is better, by its name as `val/snr_gain_db`; None where the name is none of ours."""
    name = standard_name(score).rpartition("/")[2]
    if name.endswith("undefined"):
        return False
    return True if name.startswith("recall_") else HIGHER_IS_BETTER.get(name.replace("_gain", ""))


def standard_name(score: str) -> str:
    """The name of a score as ours are written, `val/loss`, of one that is written `val_loss` or `valid/loss`."""
    return SPLIT_NAME.sub(lambda match: f"{match[1]}/", score)


class ItemKind(StrEnum):
    """What the items of a data set are."""

    PAIRS = "pairs of noisy and clean recordings"
    CLIPS = "clips with a word each"
    ROWS = "rows of features"
    UNKNOWN = "items that are not described"


@dataclass(frozen=True)
class DataSpec:
    """What a task, a card and an audit need to know of data, before any of it is trained on.

    Attributes:
        kind: what the items are.
        item_name: the items in messages, in the plural: recordings, clips, rows.
        sample_rate: Hz; None where items are no recordings.
        classes: names of the labels, in their order; empty where there are none.
        min_batch_per_rank: items that a process needs of a training batch (2 where batches are normalised).
        scored_splits: the splits that a test scores, the one that is least known to the network last.
        validation_is_trained_on: whether validation items are training items as well, so that their scores prove nothing.
        fingerprint: checksum of all items and of how they are split.
        test_fingerprint: checksum of the test items: scores of runs compare where it is equal.
    """

    kind: ItemKind
    item_name: str
    sample_rate: int | None
    classes: tuple[str, ...]
    min_batch_per_rank: int
    scored_splits: tuple[str, ...]
    validation_is_trained_on: bool
    fingerprint: str
    test_fingerprint: str


class IndexBatch(NamedTuple):
    """The items of a batch by number, before they are gathered on the device that computes."""

    split: str  # train: `indices` count training items (clips, windows, runs of frames); val, test: whole recordings
    epoch: int
    indices: Tensor  # (batch,)


class PairBatch(NamedTuple):
    """Noisy and clean waveforms, (batch, 1, time), full scale being 1."""

    noisy: Tensor
    clean: Tensor
    indices: Tensor  # (batch,)


class ClipBatch(NamedTuple):
    """Clips with a word each, and what a training mixes into them."""

    waveform: Tensor  # (batch, 1, time)
    label: Tensor  # (batch,), numbers of the data's classes
    indices: Tensor  # (batch,)
    epoch: int
    noise: Tensor | None = None  # (batch, 1, time): background noise for each clip, where the task asked for it
    partner: ClipBatch | None = None  # for each clip the one to mix with, where the task asked for partners


class FeatureBatch(NamedTuple):
    """Rows of features."""

    features: Tensor  # (batch, column)
    label: Tensor  # (batch,)
    indices: Tensor  # (batch,)


class PairSource(Protocol):
    """Where pairs come from: packed pairs, or clean speech mixed with noise as it is asked for."""

    @property
    def changes(self) -> bool:
        """Whether training waveforms are others in every epoch."""

    def load(self, batch: IndexBatch, take: Callable[[Pack], Tensor]) -> tuple[Tensor, Tensor]:
        """Noisy and clean waveforms, the ones that `take` gives of a pack for the items of `batch`. Shape: as `take` gives."""

    @property
    def packs(self) -> dict[str, Pack]:
        """The recordings themselves, by what they are of an item."""

    def to(self, device: torch.device) -> PairSource:
        """The source with its samples on another device, where they fit."""


class TrainingItems(Protocol):
    """What a task makes of the training recordings of pairs, where it does not train on clips: windows or runs of frames."""

    def __len__(self) -> int:
        """Items of an epoch."""

    def groups(self, epoch: int, size: int) -> list[Tensor]:
        """The batches of an epoch, as numbers of items."""

    def load_batch(self, batch: IndexBatch, source: PairSource) -> NamedTuple:
        """The items of an IndexBatch, on the device of its `indices`."""


class DataModule(Protocol):
    """What speechml asks of a LightningDataModule beyond Lightning's own methods."""

    seed: int

    @property
    def spec(self) -> DataSpec:
        """What is known of the data. Raises UserError where they cannot be used."""

    def card(self) -> DataCard:
        """What a run's card keeps of the data: protocol, sizes, fingerprints, notes."""

    @property
    def item_names(self) -> list[str]:
        """A name for each recording, clip or row, by its number."""

    @property
    def splits(self) -> dict[str, list[int]]:
        """Numbers of the items of train, val and test."""

    def provenance(self) -> Provenance:
        """Where the items come from, as far as it is known: what an audit of the splits goes by."""

    def scored_items(self) -> dict[str, list[int]]:
        """Numbers of the items that a test scores, by the name that their scores begin with."""

    @property
    def items_per_epoch(self) -> int:
        """Training items of an epoch: clips, windows or runs of frames."""

    def train_val_checksums(self) -> list[str]:
        """Short checksums of what is trained or validated on, kept in checkpoints."""

    def count_seen(self, checksums: list[str]) -> int:
        """How many test items are among those that a run was trained or validated on."""

    def keep_classes(self, classes: list[str]) -> None:
        """Use only items of these classes from now on, where the config does not name any; before the data are read."""

    def score_as_foreign(self) -> None:
        """Score a run on these data that was trained on others: only the test split counts."""

    def load_batch(self, batch: IndexBatch) -> NamedTuple:
        """The items of an IndexBatch on the device of its `indices`: a PairBatch, ClipBatch, FeatureBatch or a task's own."""


class Task(Protocol[TrainBatch, EvalBatch]):
    """What speechml asks of a LightningModule beyond Lightning's own methods."""

    headline_scores: tuple[str, ...]  # names without their split, by which runs are compared
    loss_name: str  # on the axis of the loss curve
    scores: dict[str, float]  # what the last test gave
    items: Mapping[int, Mapping[str, object]]  # columns of each item that was scored last, by its number

    def check_data(self, spec: DataSpec) -> None:
        """Raises UserError where the task cannot learn from such data."""

    def setup_for(self, data: DataModule) -> None:
        """Agree with the data on what a training item is, and which outputs are its classes."""

    def prepare(self, data: DataModule) -> None:
        """Fit what is not learned (level, mean and deviation) to the training split, before the first step."""

    def training_loss(self, batch: TrainBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a training batch, a scalar, and further scalars to log by their names."""

    def evaluate_batch(self, batch: EvalBatch, testing: bool) -> dict[str, Tensor]:
        """What is kept of each item that is scored, as columns by name, (batch, ...) each; they become `items`."""

    def build_optimization(self, steps: int, epochs: int = 1) -> OptimizerLRScheduler:
        """Build optimiser and schedule of a training of so many optimiser steps, for `configure_optimizers` to give.

        Raises UserError where a constructor refuses its arguments."""

    def add_metrics(self, nodes: Config) -> None:
        """Score by these metrics of torchmetrics as well; the names of the nodes are those of the scores.

        Raises UserError where one is no metric, or does not take what the task predicts."""

    def weak_scores(self) -> list[str]:
        """Sentences on scores of the last test that are worse than those of doing nothing, or of guessing."""

    def prediction_columns(self) -> dict[str, np.ndarray]:
        """What predictions.npz holds beside the rows of items, as the names of the classes."""

    def describe(self) -> str:
        """One sentence on the network, for the person who trains it."""


class FileDenoiser(Protocol):
    """What `speechml denoise` asks of a task besides."""

    sample_rate: int  # Hz

    def stream(self, channels: int) -> Stream:
        """The network as something that is fed a recording piece by piece.

        Where the task has `follows_level` and it is true, `level=` the RMS of each channel, (channels,), is given as well.
        """


class WaveformTask(Protocol):
    """What a task has besides whose items are waveforms, and could be louder or softer."""

    level_score: str  # name of the score that `level_scores` gives
    device: torch.device

    def waveforms(self, batch: NamedTuple) -> Tensor:
        """What the network is given of a batch. Shape: (batch, 1, time)."""

    def level_scores(self, batch: NamedTuple, gain: Tensor) -> Tensor:
        """The score of each item when it is louder by a factor. Shape: gain (batch, 1, 1) -> (batch,)."""


class Stretch(NamedTuple):
    """A stretch of a recording that is named: where it is, and what the network is given of it, whose answers are averaged."""

    start_s: float
    end_s: float
    inputs: Tensor  # (items, ...)


class FileClassifier(Protocol):
    """What `speechml classify` asks of a task besides."""

    classes: list[str]

    def stretches(self, file: Path) -> Iterator[Stretch]:
        """The stretches of a recording that are named one by one. Raises UserError where it cannot be read."""


class Trial(Protocol):
    """The trial of a search that a run belongs to, as the engine sees it."""

    needs_validation: bool  # whether its score must be of items that are not trained on

    def callbacks(self, watched: str, ranks: int) -> list[Callback]:
        """What reports the watched score to the search; nothing where the search prunes no such run."""

    def check_pruned(self) -> None:
        """Raises Pruned where the search has stopped the training early."""


def missing_members(module: object, contract: type) -> list[str]:
    """What a module lacks of a contract, by name; nothing of it is computed.

    Args:
        module: or its class, of which only methods are asked: attributes may be set by its constructor.
        contract: DataModule or Task.
    """
    members = {*vars(contract), *([] if inspect.isclass(module) else contract.__annotations__)}
    absent = object()
    return sorted(name for name in members if name[0] != "_" and inspect.getattr_static(module, name, absent) is absent)
