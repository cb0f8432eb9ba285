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
from speechml.data.background import Background, coloured_noise
from speechml.data.clips import MIXED, ClipCorpus, Clips, WordDataModule, WordOptions, make_corpus, split_at_random
from speechml.data.provenance import Noise, Provenance
from speechml.data.splits import has_lists, official_splits, speaker_in, word_of
from speechml.data.word_folders import BACKGROUND, Listing, pack_words
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.files import build_once
from speechml.storage.pack import PackedCorpus, fingerprint, is_whole, open_pack

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
        self.root, self.stereo = Path(root).expanduser(), audio.check_stereo(stereo)
        self.unknown, self.silence, self.download = unknown, silence, download

    def remedy(self, split: str) -> str:
        return f"{super().remedy(split)}, or data.split=random" if self.split == "official" else super().remedy(split)

    def read_corpus(self) -> ClipCorpus:
        place = self.root
        if self.download is not None:
            from speechml.data.download import download

            place = download(self.download, self.root)
        root, files, noises = word_folders.find_words(place)
        all_words = [word_of(name) for name in files.names]
        words, word_notes = self.choose_words(sorted(set(all_words)), str(self.root))
        found = self._packed(root, files, noises)
        pack, count = found.roles["clip"], len(files.names)
        splits, protocol, notes = self._split(root, files.names, set(all_words) if self.unknown else set(words))
        words, left_out = self._trainable(words, all_words, splits)
        rows = (pack.starts // pack.row).tolist()
        every = Clips(files.names, found.sums[:count], rows[:count], splits, all_words)
        clips = every.take([i for i, word in enumerate(all_words) if word in set(words)])
        each = {split: round(number / len(words)) for split, number in Counter(clips.splits).items()}
        if self.unknown:
            clips = clips.join(unknown_clips(every, set(words), each))
        background = Background(pack, torch.arange(count, len(found.names))).long_enough()
        if len(background.files) < len(noises.names):
            word_notes += [f"{BACKGROUND}: recordings shorter than 2 s are not used"]
        if self.silence:
            if not len(background.files):
                raise UserError(f"silence=true needs {root}/{BACKGROUND}/ with recordings of noise of 2 s or more")
            clips = clips.join(silence_clips(background, found.names, found.sums, each))
        classes = [*words, *[UNKNOWN] * self.unknown, *[SILENCE] * self.silence]
        noise = background if len(background.files) else coloured_noise(self.row)
        return make_corpus(clips, classes, pack, noise, protocol, [*notes, *word_notes, *left_out, *found.notes])

    def _packed(self, root: Path, files: Listing, noises: Listing) -> PackedCorpus:
        """Clips, and behind them recordings of noise."""
        stamp = fingerprint(str(root.absolute()), files, noises, self.sample_rate, self.stereo)
        build = partial(pack_words, root=root, clips=files.names, background=noises.names,
                        rate=self.sample_rate, stereo=self.stereo)  # fmt: skip
        return open_pack(build_once(self.cache / "packs" / f"words-{stamp}", is_whole, build))

    def speakers(self) -> list[str | None]:
        return ["" if name.startswith(f"{BACKGROUND}/") else speaker_in(name) for name in self.corpus.names]

    def provenance(self) -> Provenance:
        """Noise is in the test where `silence` makes clips of it; training hears all of its part of every recording."""
        base = super().provenance()
        return base._replace(noise=self._noise()) if self.silence else base

    def _noise(self) -> Noise:
        c = self.corpus
        files = c.background.files.tolist()
        seconds = {split: [int(c.rows[i]) for i in c.splits[split] if c.labels_by_name[i] == SILENCE]
                   for split in ("val", "test")}  # fmt: skip
        seconds["train"] = [row for file in files for row in c.background.rows(file)["train"]]
        cut = {split: np.array([(0, row, row + 1) for row in rows]).reshape(-1, 3) for split, rows in seconds.items()}
        return Noise(len(files), cut)

    def _split(self, root: Path, names: list[str], used: set[str]) -> tuple[list[str], str, list[str]]:
        """The split of each clip, the protocol, and what a reader of the scores should know of it."""
        if self.split == "random":  # other words beside those used change nothing
            numbers = [i for i, name in enumerate(names) if word_of(name) in used]
            return split_at_random(len(names), numbers, self.split_seed), self.split, [MIXED]
        splits = official_splits(root, names, used)
        if any("_nohash_" in name for name in names) or has_lists(root):
            return splits, self.split, []
        note = "file names carry no speaker (as a_nohash_0.wav does): a speaker may be in several parts"
        return splits, "file", [note]

    def _trainable(self, words: list[str], all_words: list[str], splits: list[str]) -> tuple[list[str], list[str]]:
        """The words that can be learned, and a sentence on those that cannot."""
        trained = {word for word, split in zip(all_words, splits, strict=True) if split == "train"}
        kept, empty = [w for w in words if w in trained], [w for w in words if w not in trained]
        if not empty or self.words is not None or self._kept is not None or len(kept) < 2:
            return words, []
        return kept, [f"left out for want of training clips: {', '.join(empty)} (data.words=[...] keeps them)"]


def unknown_clips(every: Clips, words: set[str], each: dict[str, int]) -> Clips:
    """Clips of other words, `each` of a split: the first by a hash of their names, so that no seed decides."""
    ranked = sorted(range(len(every.names)), key=lambda i: hashlib.sha256(os.fsencode(every.names[i])).digest())
    found: list[int] = []
    for split in SPLITS:
        candidates = [i for i in ranked if every.splits[i] == split and every.labels[i] not in words]
        found += sorted(candidates[: each.get(split, 0)])
    if not found:
        raise UserError("unknown=true needs words beside those in words, and there are none")
    return every.take(found, UNKNOWN)


def silence_clips(background: Background, names: list[str], sums: list[str], each: dict[str, int]) -> Clips:
    """Whole seconds of the background recordings, at most `each` of a split, spread over all of it."""
    found = Clips([], [], [], [], [])
    for split in SPLITS:
        rows = [(file, row) for file in background.files.tolist() for row in background.rows(file)[split]]
        count = min(len(rows), each.get(split, 0))
        for file, row in (rows[i * len(rows) // count] for i in range(count)):
            second = row - int(background.pack.starts[file]) // background.pack.row
            one = Clips([f"{names[file]}#{second}s"], [f"{second:04d}{sums[file]}"], [row], [split], [SILENCE])
            found = found.join(one)
    return found
