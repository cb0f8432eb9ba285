"""The embedded stand-in for Speech Commands: its 30 words, spoken by espeak-ng's voices."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from itertools import product

import numpy as np
from numpy.typing import NDArray

from speechml.data import word_schema
from speechml.data.background import coloured_noise
from speechml.data.clips import CLIP_S, MIXED, Clip, ClipCorpus, WordDataModule, make_corpus, split_at_random
from speechml.data.splits import split_by_voice, voice_speaker
from speechml.data.word_folders import word_of
from speechml.storage.pack import PackedCorpus, Recording, fingerprint

RECIPE = word_schema.SPOKEN_RECIPE  # of what `word` makes
PEAK = (-2000, -300)  # in 0.01 dB of full scale, chosen here
KEPT = 0.45  # of the lower rate, by resampling
WORDS = word_schema.WORDS
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}  # of the clips, by speaker


class SpokenWords(word_schema.SpokenWords, WordDataModule):
    """The 30 words of Speech Commands v0.01, each spoken once by each of espeak-ng's voices.

    Made once, in seconds, and cached. `split=official` keeps every speaker in one split.
    """

    remedy = "give more voices with data.voices"

    def read_corpus(self) -> ClipCorpus:
        from speechml.data.synthetic import espeak

        words, word_notes = self.choose_words(list(WORDS), "spoken_words")
        recipe = (RECIPE, self.voices, self.sample_rate, version("espeakng-loader"))
        voices = espeak.one_voice_a_speaker()[: self.voices]
        name = f"spoken-words-{fingerprint(recipe)}"
        pack = self.pack(name, self.row, self._speak(voices), len(voices) * len(WORDS))
        used = [i for i, name in enumerate(pack.names) if word_of(name) in words]
        splits = self._splits(pack, used)
        clips = [
            Clip(pack.names[i], pack.sums[i], i, splits[i], word_of(pack.names[i]), voice_speaker(pack.speakers[i]))
            for i in used
        ]
        notes = ["synthetic speech: says how well a method works on this stand-in, not on people"]
        notes += [MIXED] * (self.split == "random")
        protocol = "speaker" if self.split == "official" else self.split
        clips, notes = self.limit(clips, notes + word_notes)
        return make_corpus(clips, words, pack.roles["clip"], coloured_noise(self.row), protocol, notes)

    def _splits(self, pack: PackedCorpus, used: list[int]) -> list[str]:
        """The split of each clip: by speaker, whichever words are used, or at random by clip."""
        if self.split == "random":
            return split_at_random(len(pack.names), used, self.split_seed)
        split_of = {
            i: split for split, clips in split_by_voice(pack.speakers, SHARES, self.split_seed).items() for i in clips
        }
        return [split_of[i] for i in range(len(pack.names))]

    def _speak(self, voices: list[str]) -> Iterator[Recording]:
        from speechml.data.synthetic import espeak

        for number, (voice, text) in enumerate(product(voices, WORDS)):
            clip = word(text, voice, number, self.sample_rate)
            yield Recording(f"{text}/{voice.replace('+', '_')}.wav", {"clip": clip}, voice)
        espeak.release()


def word(text: str, voice: str, number: int, rate: int) -> NDArray[np.float32]:
    """One word in one second at a random place, in a random manner: float32 (rate,), the same for the same arguments.

    Manner and level are within what sounds natural, chosen here: espeak-ng's defaults are 175 words a minute, 50, 50.
    """
    from speechml.data.synthetic import espeak
    from speechml.data.synthetic.exact import UNIT, Draws, amplitude, resample

    draws = Draws(1, number)
    pace, pitch, pitch_range = (draws.integer(low, high) for low, high in ((120, 201), (30, 71), (30, 71)))
    said = espeak.say(text, voice, pace, pitch, pitch_range).astype(np.int64)
    speech = resample(said, espeak.SAMPLE_RATE, rate, KEPT * min(rate, espeak.SAMPLE_RATE)) // UNIT
    loud = np.flatnonzero(100 * np.abs(speech) > np.abs(speech).max())
    length = round(CLIP_S * rate)
    speech = speech[loud[0] : loud[-1] + 1][:length]
    clip = np.zeros(length, np.float32)
    place = draws.integer(0, length - len(speech) + 1)
    peak = amplitude(draws.integer(*PEAK))
    clip[place : place + len(speech)] = speech * (peak / int(np.abs(speech).max()))
    return clip
