"""Speech Commands, or any folder of word folders."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from speechml.contracts import SPLITS
from speechml.data import word_schema
from speechml.data.background import Background, coloured_noise
from speechml.data.clips import MIXED, Clip, ClipCorpus, WordDataModule, make_corpus, split_at_random
from speechml.data.name_patterns import OTHERWISE, read_speakers, read_words_and_speakers
from speechml.data.name_rules import find_in_names, speaker_rule
from speechml.data.provenance import Noise, speaker_in
from speechml.data.speaker_splits import split_evenly
from speechml.data.word_folders import (
    BACKGROUND,
    Listing,
    find_clips,
    find_words,
    read_words,
    split_by_hash,
    word_of,
)
from speechml.data.word_lists import find_lists, official_splits
from speechml.errors import UserError
from speechml.storage.pack import PackedCorpus, fingerprint

UNKNOWN, SILENCE = "_unknown_", "_silence_"  # as the data set calls them


class SpeechCommands(word_schema.SpeechCommands, WordDataModule):
    """Clips of single words, a folder for each: Speech Commands (v0.01, v0.02, the mini set) or anybody's recordings.

    `root` is the folder of the word folders, or the one that torchaudio was given. `split=official` goes by speaker: by
    the list files, or by the data set's hash; of speakers that `name_patterns` or `speaker` finds and of whom a hash would
    leave a split without any, evenly. `word` and `speaker` find both in the names of other files. The class of
    `unknown` words has as many clips as the mean of the words, the same ones whatever the seed; that of `silence` is made
    of whole seconds of `_background_noise_/`.
    """

    def __init__(self, **keys: object) -> None:
        super().__init__(**keys)
        if self.split == "official":
            self.remedy += ", or data.split=random or speaker"

    def read_corpus(self) -> ClipCorpus:
        place = self.root
        if self.download is not None:
            from speechml.data.download import download

            place = download(self.download, self.root)
        if self.word is None:
            root, files, noises, unread = find_words(place)
        else:
            root, (files, noises, unread) = place, find_clips(place)
        all_words, speakers, name_notes = self._read_names(files.names)
        words, notes = self.choose_words(sorted(set(all_words)), str(self.root))
        pack = self._pack_clips(root, files, noises)
        used = set(all_words) if self.unknown else set(words)
        splits, protocol, split_notes = self._split(root, files.names, all_words, speakers, used)
        words, left_out = self._trainable(words, all_words, splits)
        rows = (pack.roles["clip"].starts // self.row).tolist()
        columns = zip(files.names, pack.sums, rows, splits, all_words, speakers, strict=False)
        every = [Clip(*column) for column in columns]  # recordings of noise lie behind the clips
        clips = [clip for clip in every if clip.label in set(words)]
        each = {split: round(count / len(words)) for split, count in Counter(clip.split for clip in clips).items()}
        if self.unknown:
            clips += unknown_clips(every, set(words), each)
        background = Background(pack.roles["clip"], torch.arange(len(files.names), len(pack.names))).long_enough()
        if len(background.files) < len(noises.names):
            notes += [f"{BACKGROUND}: recordings shorter than 2 s are not used"]
        if self.silence:
            if not len(background.files):
                raise UserError(f"silence=true needs {root}/{BACKGROUND}/ with recordings of noise of 2 s or more")
            clips += silence_clips(background, pack, each)
        clips, all_notes = self.limit(clips, [*name_notes, *split_notes, *notes, *left_out, *pack.notes, *unread])
        return make_corpus(
            clips, [*words, *[UNKNOWN] * self.unknown, *[SILENCE] * self.silence], pack.roles["clip"],
            background if len(background.files) else coloured_noise(self.row), protocol,
            all_notes, noise_stretches(background, clips) if self.silence else None,
        )  # fmt: skip

    def _read_names(self, names: list[str]) -> tuple[list[str], Sequence[str | None], list[str]]:
        """The word and the speaker of each file, and a sentence on how names were read where no key says it.

        Words stand in `word`'s place, in the names of a flat folder, or are the folders; speakers in `speaker`'s place, in
        names of published corpora, or in names that are all alike.
        """
        rule = speaker_rule(self.speaker)
        speakers = [speaker_in(name) for name in names] if rule is None else find_in_names(rule, names)
        if self.word is not None:
            return find_in_names(self.word, names, "data.word"), speakers, []
        words = [word_of(name) for name in names]
        parts = read_words_and_speakers(names)
        if self.speaker is None and (parts := parts or read_speakers(names, words)):
            return parts.words, parts.speakers, [parts.note]
        if parts:
            return parts.words, speakers, [f"words stand first in the names; set data.word {OTHERWISE}"]
        return words, speakers, []

    def _pack_clips(self, root: Path, files: Listing, noises: Listing) -> PackedCorpus:
        """Clips, and behind them recordings of noise."""
        stamp = fingerprint(str(root.absolute()), files, noises, self.sample_rate, self.stereo)
        recordings = read_words(root, files.names, noises.names, self.sample_rate, self.stereo)
        return self.pack(f"words-{stamp}", self.row, recordings, len(files.names) + len(noises.names))

    def _split(
        self, root: Path, names: list[str], words: list[str], speakers: Sequence[str | None], used: set[str]
    ) -> tuple[list[str], str, list[str]]:
        """The split of each clip, the protocol, and what a reader of the scores should know of it; `used` are words."""
        if self.split == "all":
            return ["test"] * len(names), self.split, []
        numbers = [i for i, word in enumerate(words) if word in used]  # other words beside those change nothing
        if self.split == "random":
            return split_at_random(len(names), numbers, self.split_seed), self.split, [MIXED]
        if self.split == "speaker":
            return self._split_speakers(names, words, speakers, numbers), self.split, []
        lists, rule = self.word is None and bool(find_lists(root)), speaker_rule(self.speaker)
        people = {speakers[i] for i in numbers}
        divisible = None not in people and len(people) >= len(SPLITS)
        if rule is not None and not lists:
            by_hash = [split_by_hash(str(speaker)) for speaker in speakers]
            if len({by_hash[i] for i in numbers}) == len(SPLITS) or not divisible:
                return by_hash, self.split, []
        splits, notes = official_splits(root, names, used) if self.word is None else ([*map(split_by_hash, names)], [])
        if lists or any("_nohash_" in name for name in names):
            return splits, self.split, notes
        if divisible and (rule is not None or not any(map(speaker_in, names))):
            # By a rule or names that are all alike. Of few speakers, a hash leaves splits empty.
            return self._split_speakers(names, words, speakers, numbers), "speaker", []
        why = (
            f"there are {len(people)} speakers"
            if None not in people
            else "file names carry no speaker (as a_nohash_0.wav does)"
        )
        return splits, "file", [f"{why}: a speaker may be in several splits"]

    def _split_speakers(
        self, names: list[str], words: list[str], speakers: Sequence[str | None], numbers: list[int]
    ) -> list[str]:
        """The split of each clip by speaker; what is not among `numbers` is called train."""
        if nobody := [names[i] for i in numbers if not speakers[i]]:
            what = f"{len(nobody):,} of {len(numbers):,} names carry no speaker, as {nobody[0]}"
            raise UserError(what, fix="say where it stands with data.speaker=PATTERN, or set data.split=random")
        own = [str(speakers[i]) for i in numbers]
        if (count := len(set(own))) < 3:
            what = f"there {'are' if count > 1 else 'is'} {count} speaker{'s' * (count > 1)}, and three splits"
            raise UserError(what, fix="give clips of three, or set data.split=random")
        splits = ["train"] * len(names)
        for i, split in zip(numbers, split_evenly(own, [words[i] for i in numbers], self.split_seed), strict=True):
            splits[i] = split
        return splits

    def _trainable(self, words: list[str], all_words: list[str], splits: list[str]) -> tuple[list[str], list[str]]:
        """The words that can be learned, and a sentence on those that cannot."""
        trained = {word for word, split in zip(all_words, splits, strict=True) if split == "train"}
        kept, empty = [w for w in words if w in trained], [w for w in words if w not in trained]
        if not empty or self.split == "all" or self.words is not None or self._run_words is not None or len(kept) < 2:
            return words, []
        return kept, [f"left out for want of training clips: {', '.join(empty)} (data.words=[...] keeps them)"]


def unknown_clips(every: Sequence[Clip], words: set[str], each: dict[str, int]) -> list[Clip]:
    """Clips of other words, `each` of a split: the first by a hash of their names, so that no seed decides."""
    ranked = sorted(range(len(every)), key=lambda i: hashlib.sha256(os.fsencode(every[i].name)).digest())
    numbers: list[int] = []
    for split in SPLITS:
        candidates = [i for i in ranked if every[i].split == split and every[i].label not in words]
        numbers += sorted(candidates[: each.get(split, 0)])
    if not numbers:
        raise UserError("unknown=true needs words beside those in words, and there are none")
    return [every[i]._replace(label=UNKNOWN) for i in numbers]


def silence_clips(background: Background, pack: PackedCorpus, each: dict[str, int]) -> list[Clip]:
    """Whole seconds of the background recordings, at most `each` of a split, spread over all of it."""
    clips = []
    for split in SPLITS:
        rows = [(file, row) for file in background.files.tolist() for row in background.rows(file, split)]
        count = min(len(rows), each.get(split, 0))
        for file, row in (rows[i * len(rows) // count] for i in range(count)):
            second = row - int(background.pack.starts[file]) // background.pack.row
            name, checksum = f"{pack.names[file]}#{second}s", f"{second:04d}{pack.sums[file]}"
            clips.append(Clip(name, checksum, row, split, SILENCE, speaker=""))
    return clips


def noise_stretches(background: Background, clips: Sequence[Clip]) -> Noise:
    """What each split hears of the noise: training all of its part of every recording, the others what is scored."""
    files = background.files.tolist()
    rows = {
        split: [clip.row for clip in clips if (clip.label, clip.split) == (SILENCE, split)] for split in ("val", "test")
    }
    rows["train"] = [row for file in files for row in background.rows(file, "train")]
    cut = {split: np.array([(0, row, row + 1) for row in numbers]).reshape(-1, 3) for split, numbers in rows.items()}
    return Noise(len(files), cut)
