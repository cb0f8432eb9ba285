"""Data modules for words: clips of one length with a label, loaded by number on the device that computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from speechml.contracts import SPLITS, ClipBatch, IndexBatch, ItemKind
from speechml.data import word_schema
from speechml.data.background import Background, coloured_noise
from speechml.data.base import BaseDataModule, Corpus
from speechml.data.provenance import Noise, Provenance, is_constant
from speechml.data.splits import random_split
from speechml.errors import UserError, did_you_mean
from speechml.signal.augmentation import noise_chances, partner_places, partner_seed
from speechml.signal.random import key, permutation
from speechml.storage.pack import Pack, file_fingerprint, move

CLIP_S = 1.0  # s, the length of a Speech Commands clip
MIXED = "split by clip: the same speakers are in the training and the test split, so the scores are too good"


class Clip(NamedTuple):
    """A clip of a corpus; `row` is its place in the pack."""

    name: str
    sum: str
    row: int
    split: str
    label: str
    speaker: str | None = None


@dataclass(kw_only=True)
class ClipCorpus(Corpus):
    """Packed clips, a label and a row each."""

    pack: Pack
    background: Background
    classes: list[str]
    labels: Tensor  # (clips,) numbers of classes
    label_names: list[str]
    rows: Tensor  # (clips,) of the pack
    train: Tensor  # numbers of the training clips

    def to(self, device: torch.device) -> ClipCorpus:
        """The corpus with its tensors on a device, the recordings where they fit."""
        (pack,) = move(device, self.pack)
        own = pack if self.background.pack is self.pack else self.background.pack.to(pack.samples.device)
        where = pack.samples.device
        return replace(
            self, pack=pack, background=Background(own, self.background.files.to(where)), rows=self.rows.to(where),
            labels=self.labels.to(device), train=self.train.to(device),
        )  # fmt: skip


class WordDataModule(word_schema.Words, BaseDataModule[ClipCorpus]):
    """Base of the data modules for words: what is common once clips are read and split."""

    kind = ItemKind.CLIPS
    item_name = "clips"
    min_batch_per_rank = 2  # batch normalisation has no variance of a single clip
    remedy = "give more clips"

    def __init__(self, **keys: object) -> None:
        super().__init__(**keys)
        self.row = round(CLIP_S * self.sample_rate)
        # The words of the run that is scored on these data, where `words` is null.
        self._run_words: list[str] | None = None
        self._mixing = (0, False, False)  # see `request_mixing`
        self._by_device: dict[torch.device, ClipCorpus] = {}

    def choose_words(self, there: list[str], where: str) -> tuple[list[str], list[str]]:
        """The words of the config, or all that are there, and sentences on those that a run knows besides.

        Raises:
            UserError: a word is not there, or there is only one.
        """
        for word in self.words or []:
            if word not in there:
                near, known = did_you_mean(word, there), ", ".join(there)
                what = f"{where} has no clips of the word {word}{near}"
                raise UserError(what, why="" if near else f"there are: {known}")
        words, notes = list(self.words or there), []
        if self.words is None and self._run_words is not None:
            words = [word for word in self._run_words if word in there]
            absent = [word for word in self._run_words if word not in there and not word.startswith("_")]
            notes = [f"not scored, for want of clips: {', '.join(absent)}"] if absent else []
            if len(words) < len(there):
                notes += [f"only the words that the run knows are scored: {', '.join(words)}"]
        if len(words) < 2:
            raise UserError(f"{where} has clips of {len(words)} of the words wanted", fix="there must be at least two")
        return words, notes

    def read_clips(
        self, root: Path, names: Sequence[str], labels: Sequence[str], splits: Sequence[str],
        speakers: Sequence[str | None], protocol: str, notes: Sequence[str] = (),
    ) -> ClipCorpus:  # fmt: skip
        """The corpus of audio files, for a data module that knows what each is: what its `read_corpus` may give.

        Args:
            root: folder of the files.
            names: of the files, relative to it; of each the first CLIP_S are used.
            labels: the class of each, of which those of `words` are used.
            splits: train, val or test, for each.
            speakers: of each, None where it is not known: clips of one speaker are not independent of one another.
            protocol: how the splits were made, one word.
            notes: what a reader of the scores should know, one sentence each.

        Raises:
            UserError: a file cannot be read, or there are fewer than two classes.
        """
        from speechml.data.word_folders import read_words

        words, word_notes = self.choose_words(sorted(set(labels)), str(root))
        stamp = file_fingerprint([root / name for name in names], self.sample_rate)
        recordings = read_words(root, list(names), [], self.sample_rate, "mix")
        pack = self.pack(f"clips-{stamp}", self.row, recordings, len(names))
        columns = zip(names, pack.sums, range(len(names)), splits, labels, speakers, strict=True)
        clips = [clip for clip in (Clip(*column) for column in columns) if clip.label in words]
        noise = coloured_noise(self.row)
        return make_corpus(clips, words, pack.roles["clip"], noise, protocol, [*notes, *word_notes, *pack.notes])

    def keep_classes(self, classes: list[str]) -> None:
        self._run_words = classes

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the network's outputs."""
        return list(self.corpus.classes)

    def limit(self, clips: Sequence[Clip], notes: Sequence[str]) -> tuple[list[Clip], list[str]]:
        """The clips without the training clips beyond `clips_per_word` of each class, and the notes with one on it."""
        if self.clips_per_word is None:
            return list(clips), list(notes)
        kept = [clip for clip in clips if clip.split != "train"]
        for label in sorted({clip.label for clip in clips}):
            mine = [clip for clip in clips if (clip.split, clip.label) == ("train", label)]
            chosen = permutation(key("few", self.split_seed, label), len(mine))[: self.clips_per_word]
            kept += [mine[place] for place in sorted(chosen.tolist())]
        return kept, [*notes, f"trained on {self.clips_per_word} clips of each class at most"]

    def scored_items(self) -> dict[str, list[int]]:
        """Validation and test clips: choices are made on the first, and both are scored with the same weights."""
        splits = self.corpus.splits
        return {"test": splits["test"]} if self.is_foreign else {"val": splits["val"], "test": splits["test"]}

    def provenance(self) -> Provenance:
        c = self.corpus
        files, known = c.pack.row_file, super().provenance()
        return known._replace(silent=lambda _, item: is_constant(c.pack.recording(int(files[c.rows[item]]))))

    def _identity(self, item: int) -> tuple[str, ...]:
        return (*super()._identity(item), self.corpus.label_names[item])

    def request_mixing(self, seed: int, noise: bool, partners: bool) -> None:
        """Put background noise, and partners to mix with, into the training batches, drawn by (seed, epoch, clip)."""
        self._mixing = (seed, noise, partners)

    def load_batch(self, batch: IndexBatch) -> ClipBatch:
        """The clips of `batch` on the device of `batch.indices`, in training with what is mixed into them."""
        clips = self._clips(batch.epoch, batch.indices)
        if batch.split != "train":
            return clips
        seed, noise, partners = self._mixing
        if partners:
            train = self._corpus_on(batch.indices.device).train
            partner = self._clips(batch.epoch, train[partner_places(seed, batch.epoch, batch.indices, len(train))])
            if noise:
                partner = self._with_noise(partner, partner_seed(seed), batch.indices)
            clips = clips._replace(partner=partner)
        return self._with_noise(clips, seed, batch.indices) if noise else clips

    def _corpus_on(self, device: torch.device) -> ClipCorpus:
        if device not in self._by_device:
            self._by_device[device] = self.corpus.to(device)
        return self._by_device[device]

    def _clips(self, epoch: int, indices: Tensor) -> ClipBatch:
        corpus = self._corpus_on(indices.device)
        waveform = corpus.pack.gather_rows(corpus.rows[indices.to(corpus.rows.device)]).to(indices.device)
        return ClipBatch(waveform, corpus.labels[indices], indices, epoch)

    def _with_noise(self, clips: ClipBatch, seed: int, drawn_by: Tensor) -> ClipBatch:
        """The clips with background noise of the training split, see `Background.stretch`."""
        chances = noise_chances(seed, clips.epoch, drawn_by)
        background = self._corpus_on(chances.device).background
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
    clips: Sequence[Clip], classes: list[str], pack: Pack, background: Background, protocol: str, notes: list[str],
    noise: Noise | None = None,
) -> ClipCorpus:  # fmt: skip
    """A corpus of clips, with notes on those that are in two splits, that are short, and that are wanting."""
    splits = {split: [i for i, clip in enumerate(clips) if clip.split == split] for split in SPLITS}
    names, sums, rows, _, labels, speakers = (list(column) for column in zip(*clips, strict=True))
    seen = {sums[i] for split in ("train", "val") for i in splits[split]}
    if same := sum(sums[i] in seen for i in splits["test"]):
        notes = [*notes, f"{same} test clips are, sample by sample, training or validation clips as well"]
    if short := int((pack.lengths[pack.row_file[torch.tensor(rows)]] < pack.row).sum()):
        notes = [*notes, f"{short} clips are shorter than {CLIP_S:g} s: zeros follow"]
    trained = {labels[i] for i in splits["train"]}
    if trained and (absent := [label for label in classes if label not in trained]):
        notes = [*notes, f"no training clips of {', '.join(absent)}: the network cannot learn them"]
    number = {label: i for i, label in enumerate(classes)}
    return ClipCorpus(
        pack=pack, background=background, names=names, lengths=[pack.row] * len(names), sums=sums, splits=splits,
        classes=classes, labels=torch.tensor([number[label] for label in labels]), label_names=labels,
        rows=torch.tensor(rows), train=torch.tensor(splits["train"]), protocol=protocol, notes=notes, speakers=speakers,
        noise=noise,
    )  # fmt: skip
