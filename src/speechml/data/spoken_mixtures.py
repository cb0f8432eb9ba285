"""The embedded speech in noise: what `speechml-train` alone trains on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version

import torch

from speechml.contracts import SPLITS
from speechml.data import schema
from speechml.data.mixed_pairs import MIXING, MOVING, Audible, Mixer, Spans, audible_noise, find_moves
from speechml.data.pairs import PairCorpus, PairDataModule
from speechml.data.splits import split_by_voice, voice_speaker
from speechml.storage.pack import PackedCorpus, Recording, fingerprint

RECIPE = schema.SPOKEN_RECIPE
SHARES = {"train": 0.75, "val": 0.07, "test": 0.18}  # of the recordings, by speaker; chosen here
NOISE_RECIPE = 2  # raise it when `noises` makes others: a cache of before is then not used
NOISE_S = 20.0  # of each recording of noise
WHOLE: Spans = dict.fromkeys(SPLITS, (0, 10))  # each recording of noise is of one split only
RECORDINGS = {"train": 4, "val": 2, "test": 3}  # of each kind of noise
NOISES = 91  # recordings of noise in all, a test counts them
NOTE = "synthetic speech and noise: says how well a method works on these, not on recordings of people"


class SpokenMixtures(schema.SpokenMixtures, PairDataModule):
    """Sentences of espeak-ng's voices in noise of many kinds at 0 to 15 dB; made once, in half a minute, and cached.

    Split by voice, and noise by its kind: what a test hears of either was never heard in training. A training recording meets
    other noise at another SNR in every epoch; those of validation and test are fixed by `split_seed`.
    """

    remedy = "give more recordings with data.count"

    def read_corpus(self) -> PairCorpus:
        clean, noise = self._pack_clean(), self._pack_noise()
        self.noise_names = noise.names  # split/kind_number
        speakers = [voice_speaker(voice) for voice in clean.speakers]
        splits = split_by_voice(clean.speakers, SHARES, self.split_seed)
        low, high = float(self.snr_db[0]), float(self.snr_db[1])
        audible = {split: _only(heard, noise.names, split) for split, heard in audible_noise(noise.facts).items()}
        source = Mixer(
            clean.roles["samples"], noise.roles["samples"], audible, (low, high), self.seed, self.split_seed, WHOLE
        )  # fmt: skip
        return PairCorpus(
            source=source, names=clean.names, lengths=source.clean.lengths.tolist(), sums=clean.sums, splits=splits,
            clips=source.clean.training_rows(splits["train"]), protocol="speaker", notes=[NOTE], speakers=speakers,
            noise=source.noise_stretches(), mixture=[noise.sums, (low, high), self.split_seed, MIXING],
        )  # fmt: skip

    def _pack_clean(self) -> PackedCorpus:
        name = f"spoken-sentences-{fingerprint(RECIPE, self.count, version('espeakng-loader'))}"
        return self.pack(name, self.row, self._say(), self.count)

    def _say(self) -> Iterator[Recording]:
        from speechml.data.synthetic.sentences import sentences

        yield from sentences(self.count)

    def _pack_noise(self) -> PackedCorpus:
        name = f"made-noise-{fingerprint(RECIPE, NOISE_RECIPE, MOVING, version('espeakng-loader'))}"
        return self.pack(name, self.row, self._make_noise(), NOISES)

    def _make_noise(self) -> Iterator[Recording]:
        from speechml.data.synthetic import espeak
        from speechml.data.synthetic.noises import KINDS, noise

        number = 0
        for split, kinds in KINDS.items():
            for kind in kinds:
                for _ in range(RECORDINGS[split]):
                    samples = noise(split, kind, NOISE_S, number).astype("int16")
                    yield Recording(f"{split}/{kind}_{number}", {"samples": samples}, facts=find_moves(samples, WHOLE))
                    number += 1
        espeak.release()


def _only(heard: Audible, names: Sequence[str], split: str) -> Audible:
    """Of what a split could hear, the recordings that are its own."""
    own = torch.tensor([names[file].startswith(f"{split}/") for file in heard.files.tolist()])
    return heard._replace(files=heard.files[own], peaks=heard.peaks[own])
