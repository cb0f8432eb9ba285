"""The embedded corpus: what `speechml-train` trains on when no recordings are given."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Unpack

from speechml.data.pairs import PairCorpus, PairDataModule, PairOptions, packed_pairs
from speechml.data.provenance import Noise, Provenance
from speechml.data.splits import split_by_voice, voice_speaker
from speechml.errors import UserError
from speechml.storage.files import build_once
from speechml.storage.pack import PackWriter, fingerprint, is_whole, open_pack
from speechml.storage.progress import progress

RECIPE = 1  # raise it when speechml.data.synthetic.pairs makes other samples
SAMPLE_RATE, CLIP_S = 32000, 1.0  # Hz and s of the labs' clips
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}  # chosen here: lab 2A keeps 100 of 1,500 for test, none for validation


class SpokenPairs(PairDataModule):
    """Pairs of 1 s at 32 kHz, spoken by espeak-ng's voices and mixed with band noise as in labs 2A and 2B; split by voice.

    Made once, in seconds, and cached.

    Args:
        count: how many pairs.
    """

    def __init__(self, count: int = 1500, **common: Unpack[PairOptions]) -> None:
        super().__init__(**common)
        self.count = count

    def read_corpus(self) -> PairCorpus:
        if (self.sample_rate, self.clip_s) != (SAMPLE_RATE, CLIP_S):
            raise UserError(
                f"spoken_pairs are made at {SAMPLE_RATE} Hz in clips of {CLIP_S:g} s",
                why=f"they are {self.sample_rate} and {self.clip_s}",
                fix="leave data.sample_rate and data.clip_s as they are",
            )
        name = f"spoken-{fingerprint(RECIPE, self.count, version('espeakng-loader'), version('numpy'))}"
        found = open_pack(build_once(self.cache / "packs" / name, is_whole, self._pack))
        splits = split_by_voice(found.speakers, SHARES, self.split_seed)
        self._voices = found.speakers
        note = "synthetic speech: says how well a method works on this stand-in, not on the labs' recordings"
        return packed_pairs(found, splits, "speaker", [note])

    def provenance(self) -> Provenance:
        base = super().provenance()
        return base._replace(sources={"speaker": [voice_speaker(voice) for voice in self._voices]}, noise=Noise(0, {}))

    def _pack(self, folder: Path) -> None:
        from speechml.data.synthetic.pairs import spoken_pairs

        writer = PackWriter(folder, ("noisy", "clean"), self.row)
        for i, pair in enumerate(progress(spoken_pairs(self.count), self.count, "speaking pairs")):
            name = f"{i:04d}_{pair.voice.replace('+', '_')}"
            writer.add(name, pair.voice, {"noisy": pair.noisy, "clean": pair.clean})
        writer.close()
