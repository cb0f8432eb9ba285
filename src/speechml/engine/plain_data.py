"""Ordinary data modules of Lightning's behind the contract: what they do not say of their items is not known, and is said."""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from speechml.contracts import SPLITS, DataSpec, ItemKind
from speechml.data.provenance import Provenance
from speechml.errors import UserError
from speechml.process import set_seed
from speechml.runs.card import NOT_SAID, DataCard
from speechml.signal.random import key
from speechml.tasks.training_length import count_batches

SETUP_SEED = 0  # a module that divides its data at random does so alike in every stage, and for every seed of the run
STAGES = {"train": "fit", "val": "fit", "test": "test"}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the generators of Python, numpy and torch begin at a seed; afterwards they are as they were."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _map_leaves(value: object, change: Callable[[Any], object]) -> object:
    """A value changed; of lists, tuples and mappings each in them."""
    if isinstance(value, dict):
        return {name: _map_leaves(one, change) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_map_leaves(one, change) for one in value]
    return change(value)


class WatchedLoader:
    """A loader of the user's; whatever else is asked of it is asked of the user's.

    Args:
        loader: the user's.
        begin: called before its first batch.
        watch: given every batch.
    """

    def __init__(
        self, loader: Iterable[object], begin: Callable[[], object] = tuple, watch: Callable[[object], object] = id
    ) -> None:
        self.loader, self.begin, self.watch = loader, begin, watch

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # while it is copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(cast("Any", self.loader))

    def __iter__(self) -> Iterator[object]:
        self.begin()
        for batch in self.loader:
            self.watch(batch)
            yield batch


class PlainData:
    """A LightningDataModule that knows nothing of ours, as the engine sees it.

    Its methods are wrapped in place: a stage is set up once, with the same draws each time; training loaders draw by (seed,
    epoch), so that a resumed epoch has the batches of the one that was interrupted.

    Args:
        module: the user's.
        seed: of the run.
        is_trained_on: whether it has to have training batches.

    Raises:
        UserError: it has nothing to train on.
    """

    is_foreign = scores_training = False
    item_name = "items"

    def __init__(self, module: pl.LightningDataModule, seed: int, is_trained_on: bool = True) -> None:
        self.module, self.seed, self.name = module, seed, type(module).__name__
        self._counts: dict[str, int] = {}  # items of each split, as far as their data sets say
        self._test_sums: list[Any] = []  # of the tensors of a test batch, in their order, over all batches
        self._stages: set[str] = set()
        self._set_up_module, self._tear_down_module = module.setup, module.teardown
        self.loaders = {
            split: getattr(module, f"{split}_dataloader")
            for split in SPLITS if is_overridden(f"{split}_dataloader", module)
        }  # fmt: skip
        if os.environ.get("LOCAL_RANK", "0") == "0":
            module.prepare_data()
        module.prepare_data = lambda: None  # type: ignore[method-assign] # it has
        module.setup, module.teardown = self._set_up, self._tear_down  # type: ignore[method-assign]
        wrapped = {"train": self.train_dataloader, "val": self.val_dataloader, "test": self.test_dataloader}
        for split in self.loaders:
            setattr(module, f"{split}_dataloader", wrapped[split])
        if is_trained_on and ("train" not in self.loaders or count_batches(self.train_dataloader()) == 0):
            raise UserError(
                f"{self.name} has no training batches", fix="let train_dataloader() return a loader with some"
            )
        if is_trained_on:
            self.val_dataloader()  # counts them

    @property
    def trainer(self) -> pl.Trainer | None:
        """The trainer of the run."""
        return self.module.trainer

    @trainer.setter
    def trainer(self, trainer: pl.Trainer) -> None:
        self.module.trainer = trainer

    def _set_up(self, stage: str) -> None:
        if stage not in self._stages:
            self._stages.add(stage)
            with seeded(SETUP_SEED):
                self._set_up_module(stage)

    def _tear_down(self, stage: str) -> None:
        self._tear_down_module(stage)
        if is_overridden("teardown", type(self.module), pl.LightningDataModule):
            self._stages.clear()  # what it has freed is set up again

    def _wrap(self, split: str, wrap: Callable[[Any], object]) -> object:
        """What the module gives of a split, a loader or several in a list or mapping, each of them wrapped; [] for none."""
        if split not in self.loaders:
            return []
        self._set_up(STAGES[split])
        with seeded(SETUP_SEED):
            loaders = self.loaders[split]()
        self._counts[split] = 0

        def count_and_wrap(loader: Any) -> object:
            data_set = getattr(loader, "dataset", None)
            self._counts[split] += len(data_set) if isinstance(data_set, Sized) else 0
            return wrap(loader)

        if isinstance(loaders, CombinedLoader):
            loaders = copy.copy(loaders)  # the module may keep its own
            loaders.flattened = [count_and_wrap(loader) for loader in loaders.flattened]
            return loaders
        return _map_leaves(loaders, count_and_wrap)

    def train_dataloader(self) -> object:
        """Its training batches."""
        number = itertools.count()

        def wrap(loader: Any) -> WatchedLoader:
            own, place = self._share(loader), next(number)
            return WatchedLoader(own, lambda: self._seed_epoch(own, place))

        return self._wrap("train", wrap)

    def val_dataloader(self) -> object:
        """Its validation batches; each process has all of them, so that scores are equal whatever is logged how."""
        return self._wrap("val", WatchedLoader)

    def test_dataloader(self) -> object:
        """Its test batches, by which the test set is known; each process has all of them."""
        self._test_sums = []
        return self._wrap("test", lambda loader: WatchedLoader(loader, watch=self._add_to_sums))

    def _seed_epoch(self, loader: object, place: int) -> None:
        """Seed all generators that a loader may draw from, its own and its samplers' among them."""
        epoch, rank = (self.trainer.current_epoch, self.trainer.global_rank) if self.trainer else (0, 0)
        set_seed(seed := key("loader", self.seed, epoch, rank, place))
        for part in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
            if isinstance(generator := getattr(part, "generator", None), torch.Generator):
                generator.manual_seed(seed)
            if callable(set_epoch := getattr(part, "set_epoch", None)):
                set_epoch(epoch)

    def _share(self, loader: Any) -> Any:
        """A loader of this process's share, where several train together."""
        ranks = self.trainer.world_size if self.trainer else 1
        sampler = getattr(loader, "sampler", None)
        if ranks == 1 or isinstance(sampler, DistributedSampler):
            return loader
        is_whole = isinstance(sampler, SequentialSampler) or (
            isinstance(sampler, RandomSampler) and not sampler.replacement and len(sampler) == len(loader.dataset)
        )
        if type(loader) is not DataLoader or type(loader.batch_sampler) is not BatchSampler or not is_whole:
            what = f"{self.name} has a loader or sampler of its own, which is not divided among {ranks} processes"
            raise UserError(what, fix="let it use a DistributedSampler, or set trainer.devices=1")
        assert self.trainer
        shuffle = isinstance(sampler, RandomSampler)
        sampler = DistributedSampler(loader.dataset, ranks, self.trainer.global_rank, shuffle, self.seed % 2**31)
        same = {name: getattr(loader, name) for name in ("batch_size", "num_workers", "collate_fn", "pin_memory", "drop_last",
                "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor", "persistent_workers")}  # fmt: skip
        return DataLoader(loader.dataset, sampler=sampler, **same)

    def _add_to_sums(self, batch: object) -> None:
        """Count the tensors of a test batch in the checksums of the test, which do not depend on the size of batches."""
        number = itertools.count()

        def add(value: object) -> None:
            if isinstance(value, Tensor):
                if (place := next(number)) == len(self._test_sums):
                    self._test_sums.append(hashlib.sha256())
                raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
                self._test_sums[place].update(raw.numpy().tobytes())

        _map_leaves(batch, add)

    @property
    def item_names(self) -> list[str]:
        """No items by number."""
        return []

    @property
    def splits(self) -> dict[str, list[int]]:
        """No items by number."""
        return {split: [] for split in SPLITS}

    @property
    def spec(self) -> DataSpec:
        """What is known: nothing but sizes."""
        card = self.card()
        return DataSpec(
            ItemKind.UNKNOWN, self.item_name, None, (), 1, ("test",), False, card.fingerprint, card.test_fingerprint
        )

    def card(self) -> DataCard:
        """Sizes, and what is not known."""
        counts = {split: self._counts.get(split, 0) for split in SPLITS}
        text = repr((self.name, counts["train"], counts["val"]))
        sums = "".join(one.hexdigest() for one in self._test_sums)
        tested = hashlib.sha256(sums.encode()).hexdigest()[:16] if sums else NOT_SAID
        notes = [f"no intervals over items, and training data of equal size are not told apart: {self.name} does not say what "
                 "its items are (a subclass of speechml.data.BaseDataModule does)"]  # fmt: skip
        return DataCard(
            data=self.name, protocol=NOT_SAID, called=self.item_name, recordings=counts, notes=notes,
            fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16], test_fingerprint=tested,
        )  # fmt: skip

    def provenance(self) -> Provenance:
        """Nothing is known of where the items come from."""
        return Provenance({}, lambda *_: False, [], {})

    def train_val_checksums(self) -> list[str]:
        """None: what was trained on is not known."""
        return []

    def count_seen(self, checksums: list[str]) -> int:  # noqa: ARG002 (which no item has)
        """How many test items are known to have been trained on: none."""
        return 0

    def scored_items(self) -> dict[str, list[int]]:
        """The test, whose items have no numbers."""
        return {"test": []}
