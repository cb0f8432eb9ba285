"""One long recording, noisy and clean: homework 2 of ENGR-E 533, where the last part in time is kept for the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speechml.data import schema
from speechml.data.pair_fit import as_float
from speechml.data.pairs import PackedPairs, PairCorpus
from speechml.data.provenance import Provenance
from speechml.data.synthetic.recording import stand_in
from speechml.data.wav_pairs import FilePairs
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.pack import Pack

# The course's file names.
CLEAN, NOISY, UNPAIRED = "train_clean*.wav", "train_dirty*.wav", "test_x*.wav"
VALIDATION = 0.1  # of the training split, its end
LEAST_S = 0.2  # of each split
Span = tuple[int, int]  # first sample of a stretch, first one after it


class RecordingPair(schema.RecordingPair, FilePairs):
    """An aligned pair of long recordings, split in time: training, then its last tenth for choices, then the test.

    Without `root` and files, a stand-in is spoken by espeak-ng once, and cached. With `heldout=0` the whole recording is
    trained on, and scored.
    """

    def __init__(self, **keys: object) -> None:
        super().__init__(**keys)
        self.validation_is_trained_on = not self.heldout

    def read_corpus(self) -> PairCorpus:
        noisy, clean, others = self._paths()
        # Read before the training rather than after it: one that cannot be read is said in time.
        self._unpaired = [(path.stem, as_float(audio.load(path, self.sample_rate, self.stereo))) for path in others]
        pack = self.pack_files({clean.stem: (noisy, clean)})
        spans = self._divide(int(pack.roles["clean"].lengths[0]), noisy)
        self._spans = spans
        source = PackedPairs(*(view_spans(pack.roles[role], list(spans.values())) for role in ("noisy", "clean")))
        return PairCorpus(
            source=source, names=list(spans), lengths=[end - begin for begin, end in spans.values()],
            sums=[f"{pack.sums[0]}:{begin}-{end}" for begin, end in spans.values()],
            splits={"train": [0], "val": [1], "test": [2 if self.heldout else 0]},
            clips=torch.arange(next(iter(spans.values()))[1] // self.row),  # the training split is the first
            protocol="time" if self.heldout else "as_published",
            notes=[*self._notes(noisy.name), *pack.notes],
        )  # fmt: skip

    def provenance(self) -> Provenance:
        c = self.corpus
        if c.is_test_set:
            return super().provenance()._replace(content_keys={})
        test = self._spans["heldout" if self.heldout else "train"]
        return Provenance(
            content_keys={}, silent=lambda *_: False, fitted=c.splits["train"], statistics=self.statistics,
            stretches={"train": self._spans["train"], "val": self._spans["val"], "test": test}, rate=self.sample_rate,
            sources={"recording": ["the pair"] * len(c.names)}, in_time=bool(self.heldout),
        )  # fmt: skip

    def count_seen(self, checksums: list[str]) -> int:
        """As everywhere; a stretch of the recording that overlaps one that was trained on has been seen."""
        return sum(any(overlap(self.corpus.sums[i], other) for other in checksums) for i in self.corpus.splits["test"])

    def scored_items(self) -> dict[str, list[int]]:
        splits = self.corpus.splits
        if self.is_foreign or self.corpus.is_test_set:
            return {"test": splits["test"]}
        return {"train": splits["train"]} | ({"heldout": splits["test"]} if self.heldout else {})

    def unpaired(self) -> list[tuple[str, NDArray[np.float32]]]:
        return self._unpaired if self.corpus else []

    def _divide(self, total: int, noisy: Path) -> dict[str, Span]:
        """The stretches of `total` samples: train, val, and heldout where there is one; or all of it."""
        if self.split == "all":
            return {"test": (0, total)}
        test = round(total * (1 - self.heldout))
        val = round(test * (1 - VALIDATION))
        spans = {"train": (0, val if self.heldout else total), "val": (val, test)}
        if self.heldout:
            spans["heldout"] = (test, total)
        shortest = min(end - begin for begin, end in spans.values()) / self.sample_rate
        if shortest < LEAST_S:
            what = f"{noisy} holds {total / self.sample_rate:.2f} s, so that its shortest split has {shortest:.3f} s; "
            raise UserError(f"{what}each needs at least {LEAST_S:g} s", fix="give a longer recording")
        return spans

    def _notes(self, file: str) -> list[str]:
        if self.split == "all":
            return []
        if not self.heldout:
            return [f"the whole of {file} is for training, and is scored: train scores are no test",
                    "validation is its last tenth, which is trained on as well: val figures are no test either"]  # fmt: skip
        train, val, heldout = (f"{(end - begin) / self.sample_rate:.1f} s" for begin, end in self._spans.values())
        return [
            f"{file}: the first {train} are for training, the next {val} for validation, the last {heldout} are held out"
        ]

    def _paths(self) -> tuple[Path, Path, list[Path]]:
        """Noisy and clean file, and the noisy ones without a clean one."""
        if self.noisy_file and self.clean_file:
            return self.noisy_file, self.clean_file, []
        root = stand_in(self.cache_folder) if self.root is None else self.root
        fix = "or the pair with data.clean_file and data.noisy_file"
        if not root.is_dir():
            raise UserError(f"{root} is no folder", fix=f"give one with {CLEAN} and {NOISY}, {fix}")
        return only_file(root, NOISY, fix), only_file(root, CLEAN, fix), sorted(root.glob(UNPAIRED))


def only_file(root: Path, pattern: str, fix: str) -> Path:
    """The one file of a folder that a pattern fits. Raises UserError where there is none, or several."""
    paths = sorted(root.glob(pattern))
    if len(paths) == 1:
        return paths[0]
    why = ", ".join(path.name for path in paths)
    if not paths and (root / "noisy").is_dir():
        why = "data=wav_pairs takes its folders noisy/ and clean/"
    raise UserError(f"{root} holds {len(paths) or 'no'} file{'s' * bool(paths)} {pattern}", why, f"give one, {fix}")


def overlap(one: str, other: str) -> bool:
    """Whether two stretches `checksum:begin-end` share samples of one recording; without a span it is the whole."""
    (sum_one, begin, end), (sum_other, other_begin, other_end) = _parse_stretch(one), _parse_stretch(other)
    return sum_one == sum_other and begin < other_end and other_begin < end


def _parse_stretch(text: str) -> tuple[str, float, float]:
    """The first letters of the checksum, first sample and first one after it."""
    checksum, _, span = text.partition(":")
    begin, _, end = span.partition("-")
    return checksum[:12], float(begin or 0), float(end or "inf")


def view_spans(pack: Pack, spans: list[Span]) -> Pack:
    """A pack of one recording seen as several, which are stretches of its samples; nothing is copied."""
    begins, ends = (torch.tensor(column) for column in zip(*spans, strict=True))
    return Pack(pack.samples, begins, ends - begins, pack.gains.expand(len(spans)).clone(), pack.row, pack.row_file)
