"""The embedded corpus: what `speechml-train` trains on when no recordings are given."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Unpack

from speechml.data.pairs import PackedPairs, PairCorpus, PairDataModule, PairOptions
from speechml.data.provenance import Noise, Provenance
from speechml.errors import UserError
from speechml.storage.files import build_once
from speechml.storage.pack import PackWriter, fingerprint, is_whole, open_pack

RECIPE = 1  # raise it when speechml.data.synthetic.pairs makes other samples


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
        from speechml.data.synthetic.pairs import SAMPLE_RATE, SAMPLES, split_by_voice

        if self.sample_rate != SAMPLE_RATE or self.row != SAMPLES:
            raise UserError(
                f"spoken_pairs are made at {SAMPLE_RATE} Hz in clips of {SAMPLES / SAMPLE_RATE:g} s; leave "
                f"data.sample_rate and data.clip_s as they are (they are {self.sample_rate} and {self.clip_s})"
            )
        name = f"spoken-{fingerprint(RECIPE, self.count, version('espeakng-loader'), version('numpy'))}"
        found = open_pack(build_once(self.cache / "packs" / name, is_whole, self._pack))
        parts = {part: index.tolist() for part, index in split_by_voice(found.speakers, seed=self.split_seed).items()}
        noisy, clean = found.roles["noisy"], found.roles["clean"]
        self._voices = found.speakers
        return PairCorpus(
            source=PackedPairs(noisy, clean), names=found.names, lengths=clean.lengths.tolist(), sums=found.sums, splits=parts,
            clips=clean.training_rows(parts["train"]), protocol="speaker",
            notes=["synthetic speech: says how well a method works on this stand-in, not on the labs' recordings"],
        )  # fmt: skip

    def provenance(self) -> Provenance:
        from speechml.data.synthetic.pairs import speaker

        known = super().provenance()
        return known._replace(sources={"speaker": [speaker(voice) for voice in self._voices]}, noise=Noise(0, {}))

    def _pack(self, part: Path) -> None:
        from tqdm import tqdm

        from speechml.data.synthetic.pairs import spoken_pairs

        with tqdm(total=self.count, desc="speaking pairs", disable=not sys.stderr.isatty(), leave=False) as bar:
            made = spoken_pairs(self.count, progress=lambda done, _: bar.update(done - bar.n))
        writer = PackWriter(part, ("noisy", "clean"), self.row)
        for i, voice in enumerate(made.voices):
            name = f"{i:04d}_{voice.replace('+', '_')}"
            writer.add(name, voice, {"noisy": made.noisy[i], "clean": made.clean[i]})
        writer.close()
