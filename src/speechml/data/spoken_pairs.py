"""The embedded corpus: what `speechml-train` trains on when no recordings are given."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from speechml.data import schema
from speechml.data.pairs import PairCorpus, PairDataModule, packed_pairs
from speechml.data.provenance import Noise
from speechml.data.splits import split_by_voice, voice_speaker
from speechml.storage.pack import Recording, fingerprint

RECIPE = schema.SPOKEN_RECIPE  # of what speechml.data.synthetic.pairs makes
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}  # chosen here: lab 2A keeps 100 of 1,500 for test, none for validation


class SpokenPairs(schema.SpokenPairs, PairDataModule):
    """Pairs of 1 s at 32 kHz, spoken by espeak-ng's voices and mixed with band noise as in labs 2A and 2B; split by voice.

    Made once, in seconds, and cached.
    """

    remedy = "give more pairs with data.count"

    def read_corpus(self) -> PairCorpus:
        name = f"spoken-{fingerprint(RECIPE, self.count, version('espeakng-loader'))}"
        pack = self.pack(name, self.row, self._speak(), self.count)
        splits = split_by_voice(pack.speakers, SHARES, self.split_seed)
        speakers = [voice_speaker(voice) for voice in pack.speakers]
        note = "synthetic speech: says how well a method works on this stand-in, not on the labs' recordings"
        return packed_pairs(pack, splits, "speaker", [note], speakers, Noise(0, {}))

    def _speak(self) -> Iterator[Recording]:
        from speechml.data.synthetic.pairs import spoken_pairs

        yield from spoken_pairs(self.count)
