"""Clean speech and noise from two folders, mixed as they are asked for: new mixtures in every epoch, fixed ones for scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from speechml.contracts import SPLITS, IndexBatch
from speechml.data.pairs import STATISTICS, PairCorpus, PairDataModule, PairOptions
from speechml.data.provenance import Noise, Provenance, is_constant, samples_of
from speechml.data.splits import speaker_in, speakers_of, split_by_speaker
from speechml.data.wav_pairs import stamp
from speechml.signal.random import key, uniform
from speechml.storage import audio
from speechml.storage.files import build_once
from speechml.storage.pack import Pack, PackedCorpus, PackWriter, is_whole, open_pack
from speechml.storage.progress import progress

# Every noise recording is cut in time, so that no noise heard in training comes back in a score.
NOISE_SPANS = {"train": (0, 6), "val": (6, 8), "test": (8, 10)}  # tenths of each recording


class MixedPairs(PairDataModule):
    """Clean recordings mixed with noise at random SNRs, divided by speaker folder.

    A training clip meets another stretch of noise at another SNR in every epoch, as a function of (seed, epoch, clip);
    validation and test mixtures are fixed by `split_seed`. With two speakers one trains and validates on different
    recordings and the other tests; a single speaker is divided by recording, and the notes say so.

    Args:
        clean: folder with one folder a speaker (LibriSpeech's layout is known: reader, then chapter).
        noise: folder of noise recordings.
        snr_db: range of signal-to-noise ratios in dB.
        stereo: `mix` averages channels, `refuse` accepts mono files only.
    """

    def __init__(
        self,
        clean: str,
        noise: str,
        snr_db: tuple[float, float] = (0.0, 15.0),
        stereo: str = "mix",
        **common: Unpack[PairOptions],
    ) -> None:
        super().__init__(**common)
        if not isinstance(snr_db, (list, tuple)) or len(snr_db) != 2 or snr_db[0] > snr_db[1]:
            raise ValueError(f"snr_db is {snr_db}; it must be [lowest, highest] in dB")
        self.clean, self.noise = Path(clean).expanduser(), Path(noise).expanduser()
        self.snr_db, self.stereo = (float(snr_db[0]), float(snr_db[1])), audio.check_stereo(stereo)

    def read_corpus(self) -> PairCorpus:
        packs, notes = {}, []
        for role, folder in (("clean", self.clean), ("noise", self.noise)):
            paths = audio.find(folder)
            if note := audio.resampling_note(paths, self.sample_rate):
                notes.append(f"{role}: {note}")
            packs[role] = self._packed(role, folder, paths)
        clean, noise = packs["clean"], packs["noise"]
        parts, protocol = split_by_speaker(clean.speakers, self.split_seed)
        if protocol == "random":
            notes.append("one speaker only, as far as folders tell: the same voice is in all parts")
        elif len(set(clean.speakers)) == 2:
            notes.append("two speakers: one trains and validates on different recordings, the other tests")
        pack = clean.roles["samples"]
        self._noise_sums, self._speakers = noise.sums, clean.speakers
        return PairCorpus(
            source=Mixer(pack, noise.roles["samples"], self.snr_db, self.seed, self.split_seed), names=clean.names,
            lengths=pack.lengths.tolist(), sums=clean.sums, splits=parts, clips=pack.training_rows(parts["train"]),
            protocol=protocol, notes=notes,
        )  # fmt: skip

    def provenance(self) -> Provenance:
        """Speakers as file names carry them, else by their folders."""
        c = self.corpus
        mixer = c.source
        assert isinstance(mixer, Mixer)
        stretches = {split: span_of(mixer.noise, split) for split in SPLITS}
        count = len(mixer.noise.lengths)
        cut = {split: torch.stack([torch.arange(count), first, first + length], 1).numpy()
               for split, (first, length) in stretches.items()}  # fmt: skip
        named = [speaker_in(name) or folder or None for name, folder in zip(c.names, self._speakers, strict=True)]
        return Provenance(
            content_keys={"": c.sums}, silent=lambda _, i: is_constant(samples_of(mixer.clean, i)), fitted=c.splits["train"],
            statistics=STATISTICS, sources={"speaker": named}, noise=Noise(count, cut),
        )  # fmt: skip

    def _mixture(self) -> object:
        return [self._noise_sums, self.snr_db, self.split_seed]

    def _packed(self, role: str, folder: Path, paths: list[Path]) -> PackedCorpus:
        def build(folder_to_fill: Path) -> None:
            writer = PackWriter(folder_to_fill, ("samples",), self.row)
            speakers = speakers_of([p.relative_to(folder) for p in paths])
            for path, speaker in progress(zip(paths, speakers, strict=True), len(paths), f"reading {role} recordings"):
                waveform = audio.load(path, self.sample_rate, self.stereo)
                writer.add(path.relative_to(folder).with_suffix("").as_posix(), speaker, {"samples": waveform})
            writer.close()

        name = stamp(paths, role, self.sample_rate, self.row, self.stereo)
        return open_pack(build_once(self.cache / "packs" / name, is_whole, build))


@dataclass
class Mixer:
    """Adds noise to clean speech; every draw is a function of a seed, the epoch and the clip."""

    clean: Pack
    noise: Pack
    snr_db: tuple[float, float]
    seed: int
    split_seed: int
    changes = True

    @property
    def nbytes(self) -> int:
        return self.clean.samples.nbytes + self.noise.samples.nbytes

    def to(self, device: torch.device) -> Mixer:
        return Mixer(self.clean.to(device), self.noise.to(device), self.snr_db, self.seed, self.split_seed)

    def clips(self, batch: IndexBatch) -> tuple[Tensor, Tensor]:
        return self._mixed(self.clean.gather_rows(batch.indices), batch)

    def whole(self, batch: IndexBatch) -> tuple[Tensor, Tensor]:
        return self._mixed(self.clean.whole(batch.indices), batch)

    def stretches(self, batch: IndexBatch, recordings: Tensor, first: Tensor, length: int) -> tuple[Tensor, Tensor]:
        return self._mixed(self.clean.stretches(recordings, first, length), batch)

    def _mixed(self, clean: Tensor, batch: IndexBatch) -> tuple[Tensor, Tensor]:
        """Training mixtures are others in every epoch, those of the scores are fixed."""
        training = batch.split == "train"
        draw_key = key("mix", self.seed, batch.epoch) if training else key("mix", batch.split, self.split_seed)
        draws = uniform(draw_key, batch.indices.to(clean.device), 3)
        noise = self._noise(batch.split, clean.shape[-1], draws[:, 0], draws[:, 1])
        low, high = self.snr_db
        snr = (low + (high - low) * draws[:, 2])[:, None, None]
        power = clean.square().mean(-1, keepdim=True)
        ratio = power / noise.square().mean(-1, keepdim=True) / 10 ** (snr / 10)
        # Silence in either leaves the ratio without a meaning: silent speech gets the noise as it was recorded.
        gain = torch.where((power > 0) & torch.isfinite(ratio), ratio, torch.ones_like(ratio)).sqrt()
        return clean + gain * noise, clean

    def _noise(self, split: str, time: int, which: Tensor, where: Tensor) -> Tensor:
        """Stretches of `time` samples out of the split's span of random recordings, repeated where the span is shorter."""
        file = (which * len(self.noise.lengths)).long()
        first, span = (column[file] for column in span_of(self.noise, split))
        offset = (where * (span - time).clamp(min=1)).long()
        step = torch.arange(time, device=which.device)
        index = self.noise.starts[file][:, None] + first[:, None] + (offset[:, None] + step) % span[:, None]
        return (self.noise.samples[index].float() * self.noise.gains[file][:, None])[:, None]


def span_of(noise: Pack, split: str) -> tuple[Tensor, Tensor]:
    """What a split uses of each recording of noise: its first sample and how many. Shape: (recordings,) twice."""
    begin, end = NOISE_SPANS[split]
    first = noise.lengths * begin // 10
    return first, (noise.lengths * end // 10 - first).clamp(min=1)
