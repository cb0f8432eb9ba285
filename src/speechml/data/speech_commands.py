"""Speech Commands, or any folder of word folders."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch

from speechml.data import audio, word_folders
from speechml.data.clips import Background, ClipCorpus, ClipsData, Items, chosen, coloured_noise, corpus_of
from speechml.data.pack import fingerprint, is_whole, open_pack
from speechml.data.parts import PARTS, divided
from speechml.data.word_folders import word_of
from speechml.errors import BadInput
from speechml.files import built_once

SPLITS = ("official", "random")
UNKNOWN, SILENCE = "_unknown_", "_silence_"  # as the data set calls them


class SpeechCommands(ClipsData):
    """Clips of single words, a folder for each: Speech Commands (v0.01, v0.02, the mini set) or anybody's recordings.

    Args:
        root: folder of the word folders, or the one that torchaudio was given.
        split: `official`: by speaker, with the list files or the data set's hash; `random`: 60/20/20 by clip.
        unknown: a class of other words, as many clips as the mean of the words has; the same ones whatever the seed.
        silence: a class of background noise, of whole seconds of `_background_noise_/`.
        download: `v0.01` or `v0.02`: fetched into a folder below `root` unless it is there; null: nothing is fetched.
        stereo: `mix` averages channels, `refuse` accepts mono files only.
    """

    def __init__(
        self, root: str, split: str = "official", unknown: bool = False, silence: bool = False,
        download: str | None = None, stereo: str = "mix", **common: Any,
    ) -> None:  # fmt: skip
        super().__init__(**common)
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; it can be {' or '.join(SPLITS)}")
        if unknown and self.words is None:
            raise ValueError("unknown=true is the class of the words that are not in words; set words as well")
        self.root, self.split, self.stereo = Path(root).expanduser(), split, audio.checked(stereo)
        self.unknown, self.silence, self.download = unknown, silence, download

    def remedy(self, part: str) -> str:
        return f"{super().remedy(part)}, or data.split=random" if self.split == "official" else super().remedy(part)

    def find(self) -> ClipCorpus:
        place = self.root
        if self.download is not None:
            from speechml.data.download import fetch

            place = fetch(self.download, self.root)
        root, clips, noises = word_folders.find(place)
        names, all_words = clips.names, [word_of(name) for name in clips.names]
        words, told = self.asked(sorted(set(all_words)), str(self.root))
        stamp = fingerprint(str(root.absolute()), clips, noises, self.sample_rate, self.stereo)
        build = partial(
            word_folders.pack, root=root, clips=names, background=noises.names, rate=self.sample_rate, stereo=self.stereo
        )  # fmt: skip
        found = open_pack(built_once(self.cache / "packs" / f"words-{stamp}", is_whole, build))
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
                raise BadInput(
                    f"silence=true needs {root}/{word_folders.BACKGROUND}/ with recordings of noise of 2 s or more"
                )
            items = items.and_also(seconds(background, found.names, found.sums, each))
        classes = [*words, *[UNKNOWN] * self.unknown, *[SILENCE] * self.silence]
        heard = background if len(background.files) else coloured_noise(self.row)
        return corpus_of(items, classes, pack, heard, protocol, [*notes, *told, *absent, *found.notes])

    def _parts(self, root: Path, names: list[str], used: set[str]) -> tuple[list[str], str, list[str]]:
        """The part of each clip, the protocol, and what a reader of the scores should know of it."""
        marked = any("_nohash_" in name for name in names)
        if self.split == "official":
            parts = word_folders.official_parts(root, names, used)
            if not marked and not word_folders.has_lists(root):
                said = "file names carry no speaker (as a_nohash_0.wav does): a speaker may be in several parts"
                return parts, "file", [said]
            return parts, self.split, []
        mine = [i for i, name in enumerate(names) if word_of(name) in used]  # other words beside them change nothing
        parts = ["train"] * len(names)
        for part, places in divided(len(mine), self.split_seed).items():
            for place in places:
                parts[mine[place]] = part
        leak = "split by clip: the same speakers are in training and test part, so the scores are too good"
        return parts, self.split, [leak]

    def _trainable(self, words: list[str], all_words: list[str], parts: list[str]) -> tuple[list[str], list[str]]:
        """The words that can be learned, and a sentence on those that cannot."""
        counts = Counter(word for word, part in zip(all_words, parts, strict=True) if part == "train")
        empty = [word for word in words if not counts[word]]
        if not empty:
            return words, []
        kept = [word for word in words if counts[word]]
        if self.words is not None or self.limited_to is not None or len(kept) < 2:
            return words, []
        return kept, [f"left out for want of training clips: {', '.join(empty)} (data.words=[...] keeps them)"]


def others(every: Items, words: set[str], each: dict[str, int]) -> Items:
    """Clips of other words, `each` of a part: the first by a hash of their names, so that no seed decides."""
    ranked = sorted(range(len(every.names)), key=lambda i: hashlib.sha256(os.fsencode(every.names[i])).digest())
    found: list[int] = []
    for part in PARTS:
        candidates = [i for i in ranked if every.parts[i] == part and every.labels[i] not in words]
        found += sorted(candidates[: each.get(part, 0)])
    if not found:
        raise BadInput("unknown=true needs words beside those in words, and there are none")
    return chosen(every, found, UNKNOWN)


def seconds(background: Background, names: list[str], sums: list[str], each: dict[str, int]) -> Items:
    """Whole seconds of the background recordings, at most `each` of a part, spread over all of it."""
    found = Items([], [], [], [], [])
    for part in PARTS:
        rows = [(file, row) for file in background.files.tolist() for row in background.rows(file)[part]]
        count = min(len(rows), each.get(part, 0))
        for file, row in (rows[i * len(rows) // count] for i in range(count)):
            second = row - int(background.pack.starts[file]) // background.pack.row
            one = Items([f"{names[file]}#{second}s"], [f"{second:04d}{sums[file]}"], [row], [part], [SILENCE])
            found = found.and_also(one)
    return found
