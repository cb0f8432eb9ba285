"""One long recording, noisy and clean: homework 2 of ENGR-E 533, where the last part in time is kept for the test."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechml.data.pairs import STATISTICS, PackedPairs, PairCorpus, PairDataModule, PairOptions
from speechml.data.provenance import Provenance
from speechml.data.wav_pairs import pack_pairs, stamp
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.files import build_once
from speechml.storage.pack import Pack, is_whole, open_pack

# The course's file names.
CLEAN, NOISY, UNPAIRED = "train_clean*.wav", "train_dirty*.wav", "test_x*.wav"
VALIDATION = 0.1  # of the training part, its end
LEAST_S = 0.2  # of each part


class RecordingPair(PairDataModule):
    """An aligned pair of long recordings, divided in time: training, then its last tenth for choices, then the test.

    Without `root` and files, a stand-in is spoken by espeak-ng once, and cached.

    Args:
        root: folder with the course's files: train_clean*.wav, train_dirty*.wav, and noisy test_x*.wav to listen to.
        clean_file, noisy_file: the pair itself, instead of `root`.
        heldout: share of the recording, its end, that is only scored. 0 trains on the whole file, and scores that.
        stereo: `mix` averages channels, `refuse` accepts mono files only.
    """

    def __init__(
        self,
        root: str | None = None,
        clean_file: str | None = None,
        noisy_file: str | None = None,
        heldout: float = 0.2,
        stereo: str = "mix",
        **common: Unpack[PairOptions],
    ) -> None:
        super().__init__(**common)
        if not 0 <= heldout < 0.9:
            raise ValueError(f"heldout is {heldout}; it must be from 0 (train on the whole recording) to below 0.9")
        if (clean_file is None) != (noisy_file is None):
            raise UserError("a pair has two files", fix="give both data.clean_file=FILE and data.noisy_file=FILE")
        if root is not None and clean_file is not None:
            raise UserError("data.root and data.clean_file name two recordings", fix="give one of them")
        self.root, self.heldout, self.stereo = root, heldout, audio.check_stereo(stereo)
        self.validation_is_trained_on = not heldout
        self.files = [Path(file).expanduser() for file in (noisy_file, clean_file) if file is not None]

    def read_corpus(self) -> PairCorpus:
        noisy_path, clean_path, others = self._paths()
        # Read before the training rather than after it: one that cannot be read is said in time.
        self._unpaired = [(p.stem, as_float(audio.load(p, self.sample_rate, self.stereo))) for p in others]
        both = [noisy_path, clean_path]
        note = audio.resampling_note(both, self.sample_rate)
        name = stamp(both, self.sample_rate, self.row, self.stereo)
        pair = {clean_path.stem: (noisy_path, clean_path)}
        build = partial(pack_pairs, pairs=pair, row=self.row, sample_rate=self.sample_rate, stereo=self.stereo)
        found = open_pack(build_once(self.cache / "packs" / name, is_whole, build))
        total = int(found.roles["clean"].lengths[0])
        sections = self._sections(total)
        packs = [section(found.roles[role], sections) for role in ("noisy", "clean")]
        clips = torch.arange(sections["train"][1] // self.row)  # the training part is the first
        self._spans = sections | ({} if self.heldout else {"heldout": sections["train"]})
        names = list(sections)
        test = names.index("heldout" if self.heldout else "train")
        return PairCorpus(
            source=PackedPairs(*packs), names=names, lengths=[end - begin for begin, end in sections.values()],
            sums=[f"{found.sums[0]}:{begin}-{end}" for begin, end in sections.values()],
            splits={"train": [0], "val": [1], "test": [test]}, clips=clips,
            protocol="time" if self.heldout else "as_published",
            notes=[*self._notes(sections, noisy_path), *([note] if note else []), *swapped(*packs)],
        )  # fmt: skip

    def provenance(self) -> Provenance:
        c = self.corpus
        spans = {"train": self._spans["train"], "val": self._spans["val"], "test": self._spans["heldout"]}
        return Provenance(
            content_keys={}, silent=lambda *_: False, fitted=c.splits["train"], statistics=STATISTICS, stretches=spans,
            rate=self.sample_rate, sources={"recording": ["the pair"] * len(c.names)}, in_time=bool(self.heldout),
        )  # fmt: skip

    def train_val_checksums(self) -> list[str]:
        c = self.corpus
        return sorted(shortened(c.sums[i]) for split in ("train", "val") for i in c.splits[split])

    def count_seen(self, checksums: list[str]) -> int:
        """As everywhere; a stretch of the recording that overlaps one that was trained on has been seen."""
        return sum(any(overlap(self.corpus.sums[i], other) for other in checksums) for i in self.corpus.splits["test"])

    def scored_items(self) -> dict[str, list[int]]:
        splits = self.corpus.splits
        if self.is_foreign:
            return {"test": splits["test"]}
        return {"train": splits["train"]} | ({"heldout": splits["test"]} if self.heldout else {})

    def unpaired(self) -> list[tuple[str, NDArray[np.float32]]]:
        return self._unpaired if self.corpus else []

    def _sections(self, total: int) -> dict[str, tuple[int, int]]:
        """First and last sample of each section of `total` samples: train, val, and heldout where there is one."""
        test = round(total * (1 - self.heldout))
        val = round(test * (1 - VALIDATION))
        sections = {"train": (0, val if self.heldout else total), "val": (val, test)}
        if self.heldout:
            sections["heldout"] = (test, total)
        shortest = min(end - begin for begin, end in sections.values()) / self.sample_rate
        if shortest < LEAST_S:
            raise UserError(
                f"{self._paths()[0]} holds {total / self.sample_rate:.2f} s, so that its shortest part has {shortest:.3f} s; "
                f"each needs at least {LEAST_S:g} s",
                fix="give a longer recording",
            )
        return sections

    def _notes(self, sections: dict[str, tuple[int, int]], noisy: Path) -> list[str]:
        if not self.heldout:
            return [f"the whole of {noisy.name} is for training, and is scored: train scores are no test",
                    "validation is its last tenth, which is trained on as well: val figures are no test either"]  # fmt: skip
        seconds = {name: f"{(end - begin) / self.sample_rate:.1f} s" for name, (begin, end) in sections.items()}
        return [f"{noisy.name}: the first {seconds['train']} are for training, the next {seconds['val']} for validation, the "
                f"last {seconds['heldout']} are held out"]  # fmt: skip

    def _paths(self) -> tuple[Path, Path, list[Path]]:
        """Noisy and clean file, and the noisy ones without a clean one."""
        if self.files:
            return self.files[0], self.files[1], []
        if self.root is None:
            from speechml.data.synthetic.recording import stand_in  # scipy's filters take half a second to load

            root = stand_in(self.cache)
        else:
            root = Path(self.root).expanduser()
        fix = "or the pair with data.clean_file and data.noisy_file"
        if not root.is_dir():
            raise UserError(f"{root} is no folder", fix=f"give one with {CLEAN} and {NOISY}, {fix}")
        return only_file(root, NOISY, fix), only_file(root, CLEAN, fix), sorted(root.glob(UNPAIRED))


def only_file(root: Path, pattern: str, fix: str) -> Path:
    """The one file of a folder that a pattern fits. Raises UserError where there is none, or several."""
    paths = sorted(root.glob(pattern))
    if not paths:
        why = "data=wav_pairs takes its folders noisy/ and clean/" if (root / "noisy").is_dir() else ""
        raise UserError(f"{root} holds no file {pattern}", why, f"give one, {fix}")
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise UserError(f"{root} holds {len(paths)} files {pattern}", names, f"give one, {fix}")
    return paths[0]


def swapped(noisy: Pack, clean: Pack) -> list[str]:
    """A sentence where the noisy recording has less power than the clean one, which noise of its own cannot bring about."""
    powers = []
    for pack in (noisy, clean):
        blocks = pack.samples.split(1 << 22)  # a copy of all as float32 would take twice the recording
        powers.append(float(pack.gains[0]) ** 2 * sum(float(block.float().square().sum()) for block in blocks))
    return ["the noisy recording is weaker than the clean one: are the two swapped?"] if powers[0] < powers[1] else []


def shortened(mark: str) -> str:
    """The first letters of a checksum with the samples it stands for, `checksum:begin-end`."""
    checksum, _, span = mark.partition(":")
    return f"{checksum[:12]}:{span}"


def overlap(one: str, other: str) -> bool:
    """Whether two stretches `checksum:begin-end` share samples of one recording; without a span it is the whole."""
    (sum_one, _, span_one), (sum_other, _, span_other) = one.partition(":"), other.partition(":")
    if sum_one[:12] != sum_other[:12] or not (span_one and span_other):
        return sum_one[:12] == sum_other[:12]
    (a, b), (c, d) = ([int(n) for n in span.split("-")] for span in (span_one, span_other))
    return a < d and c < b


def section(pack: Pack, sections: dict[str, tuple[int, int]]) -> Pack:
    """A pack of one recording seen as several, which are stretches of its samples; nothing is copied."""
    begins, ends = (torch.tensor(column) for column in zip(*sections.values(), strict=True))
    gains: Tensor = pack.gains.expand(len(sections)).clone()
    return Pack(pack.samples, begins, ends - begins, gains, pack.row, pack.row_file)


def as_float(waveform: audio.Samples) -> NDArray[np.float32]:
    """Samples in [-1, 1), whatever `audio.load` gives."""
    return (waveform / 32768 if waveform.dtype == np.int16 else waveform).astype(np.float32, copy=False)
