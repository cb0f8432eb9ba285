"""The embedded stand-in for Speech Commands: its 30 words, spoken by espeak-ng's voices."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Unpack

from speechml.contracts import SPLITS
from speechml.data.background import coloured_noise
from speechml.data.clips import MIXED, ClipCorpus, Clips, WordDataModule, WordOptions, make_corpus, split_at_random
from speechml.data.splits import split_by_voice, voice_speaker, word_of
from speechml.errors import UserError
from speechml.storage.files import build_once
from speechml.storage.pack import PackedCorpus, PackWriter, fingerprint, is_whole, open_pack
from speechml.storage.progress import progress

RECIPE = 1  # raise it when speechml.data.synthetic.words makes other samples
# Of Speech Commands v0.01.
WORDS = (
    "bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house", "left", "marvin", "nine", "no",
    "off", "on", "one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "wow", "yes", "zero",
)  # fmt: skip
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}  # of the clips, by speaker


class SpokenWords(WordDataModule):
    """The 30 words of Speech Commands v0.01, each spoken once by each of espeak-ng's voices.

    Made once, in seconds, and cached. `split=official` keeps every speaker in one split.

    Args:
        voices: how many voices speak; all where it is null.
    """

    def __init__(self, voices: int | None = None, **common: Unpack[WordOptions]) -> None:
        super().__init__(**common)
        if voices is not None and voices < 3:
            raise ValueError(f"voices is {voices}; at least 3 are needed, one for each part")
        self.voices = voices

    def read_corpus(self) -> ClipCorpus:
        words, word_notes = self.choose_words(list(WORDS), "spoken_words")
        made = (RECIPE, self.voices, self.sample_rate, version("espeakng-loader"), version("numpy"), version("soxr"))
        found = open_pack(build_once(self.cache / "packs" / f"spoken-words-{fingerprint(made)}", is_whole, self._pack))
        labels = [word_of(name) for name in found.names]
        numbers = [i for i, label in enumerate(labels) if label in words]
        clips = Clips(found.names, found.sums, list(range(len(labels))), self._splits(found, numbers), labels)
        notes = ["synthetic speech: says how well a method works on this stand-in, not on people"]
        notes += [MIXED] * (self.split == "random")
        protocol = "speaker" if self.split == "official" else self.split
        clips, pack = clips.take(numbers), found.roles["clip"]
        return make_corpus(clips, words, pack, coloured_noise(self.row), protocol, notes + word_notes)

    def speakers(self) -> list[str | None]:
        return [voice_speaker(Path(name).stem.replace("_", "+", 1)) for name in self.corpus.names]

    def _splits(self, found: PackedCorpus, used: list[int]) -> list[str]:
        """The split of each clip: by speaker, whichever words are used, or at random by clip."""
        if self.split == "random":
            return split_at_random(len(found.names), used, self.split_seed)
        try:
            split = split_by_voice(found.speakers, SHARES, self.split_seed)
        except ValueError as error:
            raise UserError(f"data.voices={self.voices}: {error}") from error
        name_of = {i: name for name in SPLITS for i in split[name]}
        return [name_of[i] for i in range(len(found.names))]

    def _pack(self, folder: Path) -> None:
        from speechml.data.synthetic import espeak
        from speechml.data.synthetic.words import spoken_words

        voices = espeak.one_voice_a_speaker()[: self.voices]
        writer = PackWriter(folder, ("clip",), self.row)
        clips = spoken_words(WORDS, voices, self.sample_rate)
        for name, voice, samples in progress(clips, len(voices) * len(WORDS), "speaking words"):
            writer.add(name, voice, {"clip": samples})
        writer.close()
