"""Data modules for words: clips of one length with a label, loaded by number on the device that computes."""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from speechml.contracts import SPLITS, ClipBatch, IndexBatch, ItemKind
from speechml.data.background import Background
from speechml.data.base import BaseDataModule, DataOptions, fits, random_split
from speechml.data.provenance import Provenance, is_constant, samples_of
from speechml.errors import UserError, did_you_mean
from speechml.signal.augmentation import noise_chances, partner_places, partner_seed
from speechml.storage.pack import Pack

CLIP_S = 1.0  # s, the length of a Speech Commands clip
SPLIT_RULES = ("official", "random")
MIXED = "split by clip: the same speakers are in training and test part, so the scores are too good"  # of random ones


class Mixing(NamedTuple):
    """What is mixed into training clips: background noise, a partner or both, drawn by (seed, epoch, clip)."""

    seed: int
    noise: bool
    partners: bool


class Clips(NamedTuple):
    """Clips of a corpus, as columns: names, checksums, rows of the pack, splits and classes."""

    names: list[str]
    sums: list[str]
    rows: list[int]
    splits: list[str]
    labels: list[str]

    def take(self, numbers: list[int], label: str | None = None) -> Clips:
        """Some of the clips, under a label of their own where one is given."""
        return Clips(
            [self.names[i] for i in numbers], [self.sums[i] for i in numbers], [self.rows[i] for i in numbers],
            [self.splits[i] for i in numbers], [label or self.labels[i] for i in numbers],
        )  # fmt: skip

    def join(self, more: Clips) -> Clips:
        """These clips and more."""
        return Clips(
            self.names + more.names, self.sums + more.sums, self.rows + more.rows, self.splits + more.splits,
            self.labels + more.labels,
        )  # fmt: skip


class ClipCorpus(NamedTuple):
    """What a data module has read: packed clips, a label and a row each, and how they are split; see `base.Corpus`."""

    pack: Pack
    background: Background
    names: list[str]
    lengths: list[int]
    sums: list[str]
    splits: dict[str, list[int]]
    classes: list[str]
    labels: Tensor  # (clips,) numbers of classes
    labels_by_name: list[str]
    rows: Tensor  # (clips,) of the pack
    protocol: str
    notes: list[str]


class Resident(NamedTuple):
    """A corpus where it is computed with: packed clips, noise, row and label of each clip, the training clips."""

    device: torch.device
    pack: Pack
    background: Background
    rows: Tensor
    labels: Tensor
    train: Tensor


class WordOptions(DataOptions, total=False):
    """What every data module for words takes; see `WordDataModule`."""

    words: list[str] | None
    split: str


class WordDataModule(BaseDataModule[ClipCorpus]):
    """Base of the data modules for words.

    Args:
        words: the classes, in the order of the network's outputs; all that have training clips where it is null.
        split: `official`: by speaker, as each data module says; `random`: 60/20/20 by clip.
        common: what every data module takes.
    """

    kind = ItemKind.CLIPS
    item_name = "clips"
    min_batch_per_rank = 2  # batch normalisation has no variance of a single clip

    def __init__(self, words: list[str] | None = None, split: str = "official", **common: Unpack[DataOptions]) -> None:
        super().__init__(**common)
        if split not in SPLIT_RULES:
            raise ValueError(f"split is {split!r}; it can be {' or '.join(SPLIT_RULES)}")
        if isinstance(words, str):
            raise ValueError(f"words is {words!r}; it is a list, as in data.words=[yes,no]")
        if words is not None:
            for word in words:
                if not isinstance(word, str):
                    raise ValueError(f"words holds {word!r}, which YAML made of an unquoted word; write it in quotes")
            if len(set(words)) < max(2, len(words)):
                raise ValueError(f"words is {words}; give at least two different ones")
        if self.batch_size < self.min_batch_per_rank:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be at least {self.min_batch_per_rank} for words"
            )
        self.words, self.split = words, split
        self._kept: list[str] | None = None  # the words of the run that is scored on these data, where `words` is null
        self.row = round(CLIP_S * self.sample_rate)
        self._mixing = Mixing(0, noise=False, partners=False)
        self._resident: Resident | None = None

    def choose_words(self, there: list[str], where: str) -> tuple[list[str], list[str]]:
        """The words of the config, or all that are there, and a sentence on those that a run knows besides.

        Raises:
            UserError: a word is not there, or there is only one.
        """
        for word in self.words or []:
            if word not in there:
                near, known = did_you_mean(word, there), ", ".join(there)
                raise UserError(
                    f"{where} has no clips of the word {word}{near}", why="" if near else f"there are: {known}"
                )
        words, notes = list(self.words or there), []
        if self.words is None and self._kept is not None:
            words = [word for word in self._kept if word in there]
            absent = [word for word in self._kept if word not in there and not word.startswith("_")]
            notes = [f"not scored, for want of clips: {', '.join(absent)}"] if absent else []
            if len(words) < len(there):
                notes += [f"only the words that the run knows are scored: {', '.join(words)}"]
        if len(words) < 2:
            raise UserError(f"{where} has clips of {len(words)} of the words wanted", fix="there must be at least two")
        return words, notes

    def keep_classes(self, classes: list[str]) -> None:
        self._kept = classes

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the network's outputs."""
        return list(self.corpus.classes)

    def remedy(self, split: str) -> str:  # noqa: ARG002 (the same for all)
        return "give more clips"

    def scored_items(self) -> dict[str, list[int]]:
        """Validation and test clips: choices are made on the first, and both are scored with the same weights."""
        splits = self.corpus.splits
        return {"test": splits["test"]} if self.is_foreign else {"val": splits["val"], "test": splits["test"]}

    def speakers(self) -> list[str | None]:
        """Who speaks in each clip; empty where nobody does, None where it is not known, as here."""
        return [None] * len(self.corpus.names)

    def provenance(self) -> Provenance:
        c = self.corpus
        files = c.pack.row_file

        def silent(_: str, item: int) -> bool:
            return is_constant(samples_of(c.pack, int(files[c.rows[item]])))

        return Provenance(
            content_keys={"": c.sums}, silent=silent, fitted=c.splits["train"], sources={"speaker": self.speakers()}
        )

    def _identity(self, item: int) -> tuple[str, ...]:
        return (*super()._identity(item), self.corpus.labels_by_name[item])

    def _resident_on(self, device: torch.device) -> Resident:
        """The corpus on a device, whole where it fits."""
        if self._resident is None or self._resident.device != device:
            c = self.corpus
            pack, background = c.pack, c.background
            if fits(pack.samples.nbytes, device):
                pack = c.pack.to(device)
                same = c.background.pack is c.pack
                background = Background(pack, c.background.files.to(device)) if same else c.background.to(device)
            where = pack.samples.device
            train = torch.tensor(c.splits["train"], device=device)
            self._resident = Resident(device, pack, background, c.rows.to(where), c.labels.to(device), train)
        return self._resident

    def request_mixing(self, seed: int, noise: bool, partners: bool) -> None:
        """Put background noise, and partners to mix with, into the training batches, drawn by (seed, epoch, clip)."""
        self._mixing = Mixing(seed, noise, partners)

    def load_batch(self, batch: IndexBatch) -> ClipBatch:
        """The clips of `batch` on the device of `batch.indices`, in training with what is mixed into them."""
        clips = self._clips(batch.epoch, batch.indices)
        if batch.split != "train":
            return clips
        seed, noise, partners = self._mixing
        if partners:
            train = self._resident_on(batch.indices.device).train
            partner = self._clips(batch.epoch, train[partner_places(seed, batch.epoch, batch.indices, len(train))])
            if noise:
                partner = self._with_noise(partner, partner_seed(seed), batch.indices)
            clips = clips._replace(partner=partner)
        return self._with_noise(clips, seed, batch.indices) if noise else clips

    def _clips(self, epoch: int, indices: Tensor) -> ClipBatch:
        here = self._resident_on(indices.device)
        waveform = here.pack.gather_rows(here.rows[indices.to(here.rows.device)]).to(indices.device)
        return ClipBatch(waveform, here.labels[indices], indices, epoch)

    def _with_noise(self, clips: ClipBatch, seed: int, drawn_by: Tensor) -> ClipBatch:
        """The clips with background noise of the training split, see `Background.stretch`."""
        chances = noise_chances(seed, clips.epoch, drawn_by)
        background = self._resident_on(chances.device).background
        noise = background.stretch("train", chances.to(background.files.device), clips.waveform.shape[-1])
        return clips._replace(noise=noise.to(chances.device))


def split_at_random(count: int, used: list[int], split_seed: int) -> list[str]:
    """The split of each of `count` clips, 60/20/20 of those in `used`, by clip; what is not used is called train."""
    splits = ["train"] * count
    for split, places in random_split(len(used), split_seed).items():
        for place in places:
            splits[used[place]] = split
    return splits


def make_corpus(
    clips: Clips, classes: list[str], pack: Pack, background: Background, protocol: str, notes: list[str]
) -> ClipCorpus:
    """A corpus of clips, with a note where the same recording is in the test split and in another."""
    splits = {split: [i for i, own in enumerate(clips.splits) if own == split] for split in SPLITS}
    seen = {clips.sums[i] for split in ("train", "val") for i in splits[split]}
    if same := sum(clips.sums[i] in seen for i in splits["test"]):
        notes = [*notes, f"{same} test clips are, sample by sample, training or validation clips as well"]
    if short := int((pack.lengths[pack.row_file[torch.tensor(clips.rows)]] < pack.row).sum()):
        notes = [*notes, f"{short} clips are shorter than {CLIP_S:g} s: zeros follow"]
    trained = {clips.labels[i] for i in splits["train"]}
    if absent := [label for label in classes if label not in trained]:
        notes = [*notes, f"no training clips of {', '.join(absent)}: the network cannot learn them"]
    number = {label: i for i, label in enumerate(classes)}
    return ClipCorpus(
        pack=pack, background=background, names=clips.names, lengths=[pack.row] * len(clips.names), sums=clips.sums,
        splits=splits, classes=classes, labels=torch.tensor([number[label] for label in clips.labels]),
        labels_by_name=clips.labels, rows=torch.tensor(clips.rows), protocol=protocol, notes=notes,
    )  # fmt: skip
