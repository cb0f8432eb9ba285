"""The embedded stand-in for Speech Commands: its 30 words, spoken by espeak-ng's voices."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Unpack

import numpy as np
import soxr

from speechml.contracts import SPLITS
from speechml.data.clips import (
    CLIP_S,
    MIXED,
    ClipCorpus,
    Items,
    WordDataModule,
    WordOptions,
    at_random,
    chosen,
    coloured_noise,
    corpus_of,
)
from speechml.data.word_folders import word_of
from speechml.errors import UserError
from speechml.storage.files import build_once
from speechml.storage.pack import PackedCorpus, PackWriter, fingerprint, is_whole, open_pack
from speechml.storage.progress import progress

RECIPE = 1  # raise it when `word` makes other samples
# Of Speech Commands v0.01.
WORDS = (
    "bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house", "left", "marvin", "nine", "no",
    "off", "on", "one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "wow", "yes", "zero",
)  # fmt: skip
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}  # of the clips, by speaker


class SpokenWords(WordDataModule):
    """The 30 words of Speech Commands v0.01, each spoken once by each of espeak-ng's voices.

    Made once, in seconds, and cached. `split=official` keeps every speaker in one part.

    Args:
        voices: how many voices speak; all where it is null.
    """

    def __init__(self, voices: int | None = None, **common: Unpack[WordOptions]) -> None:
        super().__init__(**common)
        if voices is not None and voices < 3:
            raise ValueError(f"voices is {voices}; at least 3 are needed, one for each part")
        self.voices = voices

    def read_corpus(self) -> ClipCorpus:
        words, told = self.asked(list(WORDS), "spoken_words")
        made = (RECIPE, self.voices, self.sample_rate, version("espeakng-loader"), version("numpy"), version("soxr"))
        found = open_pack(build_once(self.cache / "packs" / f"spoken-words-{fingerprint(made)}", is_whole, self._pack))
        labels = [word_of(name) for name in found.names]
        numbers = [i for i, label in enumerate(labels) if label in words]
        every = Items(found.names, found.sums, list(range(len(labels))), self._parts(found, numbers), labels)
        notes = ["synthetic speech: says how well a method works on this stand-in, not on people"]
        notes += [MIXED] * (self.split == "random")
        protocol = "speaker" if self.split == "official" else self.split
        background = coloured_noise(self.row)
        return corpus_of(
            chosen(every, numbers), list(words), found.roles["clip"], background, protocol, [*notes, *told]
        )

    def speakers(self) -> list[str | None]:
        from speechml.data.synthetic.pairs import speaker

        return [speaker(Path(name).stem.replace("_", "+", 1)) for name in self.corpus.names]

    def _parts(self, found: PackedCorpus, used: list[int]) -> list[str]:
        """The part of each clip: by speaker, whichever words are used, or at random by clip."""
        from speechml.data.synthetic.pairs import split_by_voice

        if self.split == "random":
            return at_random(len(found.names), used, self.split_seed)
        try:
            split = split_by_voice(found.speakers, SHARES, self.split_seed)
        except ValueError as error:
            raise UserError(f"data.voices={self.voices}: {error}") from error
        part = {int(i): name for name in SPLITS for i in split[name]}
        return [part[i] for i in range(len(part))]

    def _pack(self, part: Path) -> None:
        from speechml.data.synthetic.pairs import one_voice_a_speaker

        voices = one_voice_a_speaker()[: self.voices]
        writer = PackWriter(part, ("clip",), self.row)
        number = 0
        for voice in progress(voices, len(voices), "speaking words"):
            for text in WORDS:
                name = f"{text}/{voice.replace('+', '_')}.wav"
                writer.add(name, voice, {"clip": word(text, voice, number, self.sample_rate)})
                number += 1
        writer.close()


def word(text: str, voice: str, number: int, rate: int) -> np.ndarray:
    """One word in one second at a random place, in a random manner: float32 (rate,), the same for the same arguments.

    Manner and level are within what sounds natural, chosen here: espeak-ng's defaults are 175 words a minute, 50, 50.
    """
    from speechml.data.synthetic import espeak

    random = np.random.default_rng([1, number])
    pace, pitch, pitch_range = (int(random.integers(low, high)) for low, high in ((120, 201), (30, 71), (30, 71)))
    said = espeak.say(text, voice, pace, pitch, pitch_range).astype(np.float32)
    speech = soxr.resample(said, espeak.SAMPLE_RATE, rate)
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    length = round(CLIP_S * rate)
    speech = speech[loud[0] : loud[-1] + 1][:length]
    peak = 10 ** (random.uniform(-20, -3) / 20)
    clip = np.zeros(length, np.float32)
    place = int(random.integers(length - len(speech) + 1))
    clip[place : place + len(speech)] = speech * (peak / np.abs(speech).max())
    return clip
