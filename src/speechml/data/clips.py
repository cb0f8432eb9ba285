"""Data modules for words: clips of one length with a label, gathered by index on the device that computes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechml.data.pack import Pack
from speechml.data.parts import PARTS, PartsData, Picks, fits

CLIP_S = 1.0  # s, the length of a Speech Commands clip
SPANS = {"train": (0, 8), "val": (8, 9), "test": (9, 10)}  # tenths of a background recording that a part hears


class ClipBatch(NamedTuple):
    """waveform: (batch, 1, time); label: (batch,) class numbers; numbers: (batch,) clip numbers within the corpus."""

    waveform: Tensor
    label: Tensor
    numbers: Tensor
    epoch: int
    background: Background


class Background(NamedTuple):
    """Recordings of noise, of which each part hears a stretch of its own; a `_silence_` clip is a second of them."""

    pack: Pack
    files: Tensor  # (recordings,) which of the pack

    def rows(self, file: int) -> dict[str, list[int]]:
        """The whole seconds of one recording, as rows of the pack, for each part."""
        first, whole = int(self.pack.starts[file]) // self.pack.row, int(self.pack.lengths[file]) // self.pack.row
        return {
            part: list(range(first + whole * begin // 10, first + whole * end // 10))
            for part, (begin, end) in SPANS.items()
        }

    def stretch(self, part: str, chances: Tensor, time: int) -> Tensor:
        """Stretches at random places of random recordings. Shape: chances (batch, 2) in [0, 1) -> (batch, 1, time)."""
        files = self.files[(chances[:, 0] * len(self.files)).long()]
        begin, end = (
            self.pack.lengths[files] // self.pack.row * tenths // 10 * self.pack.row for tenths in SPANS[part]
        )
        return self.pack.stretches(files, begin + (chances[:, 1] * (end - begin - time).clamp(min=1)).long(), time)

    def to(self, device: torch.device) -> Background:
        """The same on another device."""
        return Background(self.pack.to(device), self.files.to(device))


class Items(NamedTuple):
    """Clips of a corpus, as columns: names, checksums, rows of the pack, parts and classes."""

    names: list[str]
    sums: list[str]
    rows: list[int]
    parts: list[str]
    labels: list[str]

    def and_also(self, more: Items) -> Items:
        """These clips and more."""
        return Items(*(mine + others for mine, others in zip(self, more, strict=True)))


def chosen(items: Items, numbers: list[int], label: str | None = None) -> Items:
    """Some of the items, under a label of their own where one is given."""
    return Items(
        [items.names[i] for i in numbers], [items.sums[i] for i in numbers], [items.rows[i] for i in numbers],
        [items.parts[i] for i in numbers], [label or items.labels[i] for i in numbers],
    )  # fmt: skip


class ClipCorpus(NamedTuple):
    """What a data module found: packed clips, a label and a row each, and how they were divided."""

    pack: Pack
    background: Background
    names: list[str]
    lengths: list[int]  # samples
    sums: list[str]  # checksums
    parts: dict[str, list[int]]
    classes: list[str]
    labels: Tensor  # (clips,) numbers of classes
    rows: Tensor  # (clips,) of the pack
    protocol: str
    notes: list[str]


class ClipsData(PartsData):
    """Base of the data modules for words.

    Args:
        words: the classes, in the order of the network's outputs; all that have training clips where it is null.
        common: what every data module takes.
    """

    called = "clips"

    def __init__(self, words: list[str] | None = None, **common: Any) -> None:
        super().__init__(**common)
        if words is not None:
            for word in words:
                if not isinstance(word, str):
                    raise ValueError(f"words holds {word!r}, which YAML made of an unquoted word; write it in quotes")
            if len(set(words)) < max(2, len(words)):
                raise ValueError(f"words is {words}; give at least two different ones")
        self.words = words
        self.row = round(CLIP_S * self.sample_rate)
        self._resident: tuple[torch.device, Pack, Background, Tensor, Tensor] | None = None

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the network's outputs."""
        return list(self.corpus.classes)

    def remedy(self, part: str) -> str:
        return f"give more clips ({part} got none), or data.split=random"

    def scored(self) -> dict[str, list[int]]:
        """Validation and test clips: choices are made on the first, and both are scored with the same weights."""
        parts = self.corpus.parts
        return {"test": parts["test"]} if self.foreign else {"val": parts["val"], "test": parts["test"]}

    def _marks(self, item: int) -> tuple[Any, ...]:
        return (*super()._marks(item), self.corpus.classes[int(self.corpus.labels[item])])

    def gather(self, picks: Picks) -> ClipBatch:
        """The clips of `picks` on the device of `picks.numbers`."""
        device = picks.numbers.device
        if self._resident is None or self._resident[0] != device:
            c = self.corpus
            moves = fits(c.pack.samples.nbytes, device)
            pack, background = (c.pack.to(device), c.background.to(device)) if moves else (c.pack, c.background)
            self._resident = (device, pack, background, c.rows.to(pack.samples.device), c.labels.to(device))
        _, pack, background, rows, labels = self._resident
        waveform = pack.gather_rows(rows[picks.numbers.to(rows.device)]).to(device)
        return ClipBatch(waveform, labels[picks.numbers], picks.numbers, picks.epoch, background)


def corpus_of(
    items: Items, classes: list[str], pack: Pack, background: Background, protocol: str, notes: list[str]
) -> ClipCorpus:
    """A corpus of items, with a note where the same recording is in the test part and in another."""
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for i, part in enumerate(items.parts):
        parts[part].append(i)
    heard = {items.sums[i] for part in ("train", "val") for i in parts[part]}
    if same := sum(items.sums[i] in heard for i in parts["test"]):
        notes = [*notes, f"{same} test clips are, sample by sample, training or validation clips as well"]
    number = {label: i for i, label in enumerate(classes)}
    return ClipCorpus(
        pack=pack, background=background, names=items.names, lengths=[pack.row] * len(items.names), sums=items.sums,
        parts=parts, classes=classes, labels=torch.tensor([number[label] for label in items.labels]),
        rows=torch.tensor(items.rows), protocol=protocol, notes=notes,
    )  # fmt: skip


def coloured_noise(row: int, seconds: int = 20) -> Background:
    """White, pink and brown noise (power falling with frequency^0, 1, 2), where no recordings of noise are at hand.

    Args:
        row: samples of a second.
        seconds: of each.
    """
    random = np.random.default_rng(0)
    waves = []
    for slope in (0.0, 0.5, 1.0):  # of the amplitude
        spectrum = np.fft.rfft(random.standard_normal(seconds * row))
        spectrum[1:] /= np.arange(1, len(spectrum)) ** slope
        spectrum[0] = 0
        wave = np.fft.irfft(spectrum)
        waves.append(np.round(wave / np.abs(wave).max() * 32767).astype(np.int16))
    lengths = [len(wave) for wave in waves]
    pack = Pack.of(torch.from_numpy(np.concatenate(waves)), lengths, [1 / 32768] * len(waves), row)
    return Background(pack, torch.arange(len(waves)))
