"""Speech Commands, or any folder of word folders."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from speechml.contracts import SPLITS
from speechml.data import word_folders
from speechml.data.clips import (
    MIXED,
    Background,
    ClipCorpus,
    Items,
    WordDataModule,
    WordOptions,
    at_random,
    chosen,
    coloured_noise,
    corpus_of,
)
from speechml.data.provenance import Noise, Provenance
from speechml.data.speakers import speaker_in
from speechml.data.word_folders import word_of
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.files import build_once
from speechml.storage.pack import fingerprint, is_whole, open_pack

UNKNOWN, SILENCE = "_unknown_", "_silence_"  # as the data set calls them


class SpeechCommands(WordDataModule):
    """Clips of single words, a folder for each: Speech Commands (v0.01, v0.02, the mini set) or anybody's recordings.

    `split=official` goes by speaker: by the list files, or by the data set's hash.

    Args:
        root: folder of the word folders, or the one that torchaudio was given.
        unknown: a class of other words, as many clips as the mean of the words has; the same ones whatever the seed.
        silence: a class of background noise, of whole seconds of `_background_noise_/`.
        download: `v0.01` or `v0.02`: fetched into a folder below `root` unless it is there; null: nothing is fetched.
        stereo: `mix` averages channels, `refuse` accepts mono files only.
    """

    def __init__(
        self, root: str, unknown: bool = False, silence: bool = False,
        download: str | None = None, stereo: str = "mix", **common: Unpack[WordOptions],
    ) -> None:  # fmt: skip
        super().__init__(**common)
        if unknown and self.words is None:
            raise ValueError("unknown=true is the class of the words that are not in words; set words as well")
        self.root, self.stereo = Path(root).expanduser(), audio.checked(stereo)
        self.unknown, self.silence, self.download = unknown, silence, download

    def remedy(self, split: str) -> str:
        return f"{super().remedy(split)}, or data.split=random" if self.split == "official" else super().remedy(split)

    def read_corpus(self) -> ClipCorpus:
        place = self.root
        if self.download is not None:
            from speechml.data.download import download

            place = download(self.download, self.root)
        root, clips, noises = word_folders.find_words(place)
        names, all_words = clips.names, [word_of(name) for name in clips.names]
        words, told = self.asked(sorted(set(all_words)), str(self.root))
        stamp = fingerprint(str(root.absolute()), clips, noises, self.sample_rate, self.stereo)
        build = partial(
            word_folders.pack_words, root=root, clips=names, background=noises.names, rate=self.sample_rate, stereo=self.stereo
        )  # fmt: skip
        found = open_pack(build_once(self.cache / "packs" / f"words-{stamp}", is_whole, build))
        pack = found.roles["clip"]
        parts, protocol, notes = self._parts(root, names, set(all_words) if self.unknown else set(words))
        words, absent = self._trainable(words, all_words, parts)
        rows = (pack.starts // pack.row).tolist()
        every = Items(names, found.sums[: len(names)], rows[: len(names)], parts, all_words)
        wanted = set(words)
        items = chosen(every, [i for i, word in enumerate(all_words) if word in wanted])
        each = {part: round(count / len(words)) for part, count in Counter(items.parts).items()}
        if self.unknown:
            items = items.and_also(others(every, wanted, each))
        background = Background(pack, torch.arange(len(names), len(found.names))).long_enough()
        if len(background.files) < len(noises.names):
            told += [f"{word_folders.BACKGROUND}: recordings shorter than 2 s are not used"]
        if self.silence:
            if not len(background.files):
                raise UserError(
                    f"silence=true needs {root}/{word_folders.BACKGROUND}/ with recordings of noise of 2 s or more"
                )
            items = items.and_also(seconds(background, found.names, found.sums, each))
        classes = [*words, *[UNKNOWN] * self.unknown, *[SILENCE] * self.silence]
        heard = background if len(background.files) else coloured_noise(self.row)
        return corpus_of(items, classes, pack, heard, protocol, [*notes, *told, *absent, *found.notes])

    def speakers(self) -> list[str | None]:
        own = f"{word_folders.BACKGROUND}/"
        return ["" if name.startswith(own) else speaker_in(name) for name in self.corpus.names]

    def provenance(self) -> Provenance:
        """Noise is in the test where `silence` makes clips of it; training hears all of its part of every recording."""
        known = super().provenance()
        return known._replace(noise=self._noise()) if self.silence else known

    def _noise(self) -> Noise:
        c = self.corpus
        files = c.background.files.tolist()
        seconds = {part: [row for i in c.splits[part] if c.labels_by_name[i] == SILENCE for row in (int(c.rows[i]),)]
                   for part in ("val", "test")}  # fmt: skip
        seconds["train"] = [row for file in files for row in c.background.rows(file)["train"]]
        cut = {part: np.array([(0, row, row + 1) for row in rows]).reshape(-1, 3) for part, rows in seconds.items()}
        return Noise(len(files), cut)

    def _parts(self, root: Path, names: list[str], used: set[str]) -> tuple[list[str], str, list[str]]:
        """The part of each clip, the protocol, and what a reader of the scores should know of it."""
        marked = any("_nohash_" in name for name in names)
        if self.split == "official":
            parts = word_folders.official_splits(root, names, used)
            if not marked and not word_folders.has_lists(root):
                said = "file names carry no speaker (as a_nohash_0.wav does): a speaker may be in several parts"
                return parts, "file", [said]
            return parts, self.split, []
        used_here = [
            i for i, name in enumerate(names) if word_of(name) in used
        ]  # other words beside them change nothing
        return at_random(len(names), used_here, self.split_seed), self.split, [MIXED]

    def _trainable(self, words: list[str], all_words: list[str], parts: list[str]) -> tuple[list[str], list[str]]:
        """The words that can be learned, and a sentence on those that cannot."""
        counts = Counter(word for word, part in zip(all_words, parts, strict=True) if part == "train")
        empty = [word for word in words if not counts[word]]
        if not empty:
            return words, []
        kept = [word for word in words if counts[word]]
        if self.words is not None or self._kept is not None or len(kept) < 2:
            return words, []
        return kept, [f"left out for want of training clips: {', '.join(empty)} (data.words=[...] keeps them)"]


def others(every: Items, words: set[str], each: dict[str, int]) -> Items:
    """Clips of other words, `each` of a part: the first by a hash of their names, so that no seed decides."""
    ranked = sorted(range(len(every.names)), key=lambda i: hashlib.sha256(os.fsencode(every.names[i])).digest())
    found: list[int] = []
    for part in SPLITS:
        candidates = [i for i in ranked if every.parts[i] == part and every.labels[i] not in words]
        found += sorted(candidates[: each.get(part, 0)])
    if not found:
        raise UserError("unknown=true needs words beside those in words, and there are none")
    return chosen(every, found, UNKNOWN)


def seconds(background: Background, names: list[str], sums: list[str], each: dict[str, int]) -> Items:
    """Whole seconds of the background recordings, at most `each` of a part, spread over all of it."""
    found = Items([], [], [], [], [])
    for part in SPLITS:
        rows = [(file, row) for file in background.files.tolist() for row in background.rows(file)[part]]
        count = min(len(rows), each.get(part, 0))
        for file, row in (rows[i * len(rows) // count] for i in range(count)):
            second = row - int(background.pack.starts[file]) // background.pack.row
            one = Items([f"{names[file]}#{second}s"], [f"{second:04d}{sums[file]}"], [row], [part], [SILENCE])
            found = found.and_also(one)
    return found
