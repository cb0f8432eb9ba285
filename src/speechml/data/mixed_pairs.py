"""Clean speech and noise from two folders, mixed as they are asked for: new mixtures in every epoch, fixed ones for scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechml.contracts import SPLITS, IndexBatch
from speechml.data import schema
from speechml.data.name_patterns import read_speakers
from speechml.data.name_rules import find_in_names, speaker_rule
from speechml.data.pairs import PairCorpus, PairDataModule
from speechml.data.provenance import Noise, speaker_in
from speechml.data.speaker_splits import speaker_notes
from speechml.data.splits import speakers_of, split_by_speaker
from speechml.errors import UserError
from speechml.signal.augmentation import without_mean
from speechml.signal.random import key, uniform
from speechml.storage import audio
from speechml.storage.audio import Samples
from speechml.storage.audio_folders import find_audio, resampling_notes
from speechml.storage.pack import Pack, PackedCorpus, Recording, cut, file_fingerprint, move
from speechml.storage.pack_writing import quantise

# Every noise recording is cut in time, so that no noise heard in training comes back in a score.
Spans = Mapping[str, tuple[int, int]]
NOISE_SPANS: Spans = {"train": (0, 6), "val": (6, 8), "test": (8, 10)}  # tenths of each recording
MIXING = 2  # raise it when mixtures of equal recordings become others: scores of runs no longer compare then
MOVING = 1  # raise it when `find_moves` finds others: packs of noise are then made anew


class MixedPairs(schema.MixedPairs, PairDataModule):
    """Clean recordings mixed with noise at random SNRs, split by speaker: by folder, or by what `speaker` finds.

    A training clip meets another stretch of noise at another SNR in every epoch, as a function of (seed, epoch, clip);
    validation and test mixtures are fixed by `split_seed`. With two speakers one trains and validates on different
    recordings and the other tests; a single speaker is split by recording, and the notes say so.
    LibriSpeech's layout is known: reader, then chapter.
    """

    def read_corpus(self) -> PairCorpus:
        clean, noise = self._pack_folder("clean", self.clean), self._pack_folder("noise", self.noise)
        splits, protocol = split_by_speaker(clean.speakers, self.split_seed)
        notes = [*clean.notes, *noise.notes]
        if self.split != "all":
            notes += speaker_notes(clean.speakers)
        snr_db = (float(self.snr_db[0]), float(self.snr_db[1]))
        source = Mixer(
            clean.roles["samples"], noise.roles["samples"], audible_noise(noise.facts), snr_db, self.seed, self.split_seed
        )  # fmt: skip
        notes += check_noise(source, str(self.noise))
        speakers: Sequence[str | None] = clean.speakers
        if speaker_rule(self.speaker) is None:  # as file names carry them, else by their folders
            known = zip(clean.names, clean.speakers, strict=True)
            speakers = [speaker_in(name) or folder or None for name, folder in known]
        return PairCorpus(
            source=source, names=clean.names, lengths=source.clean.lengths.tolist(), sums=clean.sums, splits=splits,
            clips=source.clean.training_rows(splits["train"]), protocol=protocol, notes=notes, speakers=speakers,
            noise=source.noise_stretches(), mixture=[noise.sums, snr_db, self.split_seed, MIXING],
        )  # fmt: skip

    def _pack_folder(self, role: str, folder: Path) -> PackedCorpus:
        paths, notes = find_audio(folder, once=True)
        speakers = self._speakers([path.relative_to(folder) for path in paths], notes) if role == "clean" else None
        notes = [*notes, *(f"{role}: {note}" for note in resampling_notes(paths, self.sample_rate))]
        recipe = [MOVING, NOISE_SPANS] if role == "noise" else []
        name = file_fingerprint(paths, role, self.sample_rate, self.row, self.stereo, *recipe)
        pack = self.pack(name, self.row, self._read(folder, paths, bool(recipe)), len(paths))
        return replace(pack, notes=[*pack.notes, *notes], speakers=speakers or pack.speakers)

    def _speakers(self, paths: list[Path], notes: list[str]) -> list[str] | None:
        """Who speaks in each clean file, where a key or names that are all alike say it; how these were read is noted."""
        names = [path.as_posix() for path in paths]
        if (rule := speaker_rule(self.speaker)) is not None:
            return find_in_names(rule, names)
        if self.speaker is not None or len(set(speakers_of(paths))) > 1 or (parts := read_speakers(names)) is None:
            return None  # as folders say
        notes.append(parts.note)
        return parts.speakers

    def _read(self, folder: Path, paths: list[Path], is_noise: bool) -> Iterator[Recording]:
        names = [path.relative_to(folder) for path in paths]
        for path, name, speaker in zip(paths, names, speakers_of(names), strict=True):
            samples = audio.load(path, self.sample_rate, self.stereo)
            facts = find_moves(quantise(samples)[0]) if is_noise else ()
            yield Recording(name.with_suffix("").as_posix(), {"samples": samples}, speaker, facts=facts)


class Audible(NamedTuple):
    """What is not silent of the noise that a split hears.

    files, peaks: (files,) int64, the recordings that are not silent there, and where each moves most, in samples from the begin
    of the split's span; pause: the longest stretch of them without a change, in samples.
    """

    files: Tensor
    peaks: Tensor
    pause: int


def find_moves(samples: Samples, spans: Spans | None = None) -> list[int]:
    """Of each split's span, where it moves most (-1 of silence) and its longest stretch without a change, both in samples.

    Shape: samples (time,) int16 -> (2 * splits,).
    """
    facts = []
    for split in SPLITS:
        first, length = map(int, span((spans or NOISE_SPANS)[split], torch.tensor(len(samples))))
        moves = np.abs(np.diff(samples[first : first + length].astype(np.int32)))
        changes = np.flatnonzero(moves)
        pause = np.diff(np.r_[-1, changes, len(moves)]).max()
        facts += [int(moves.argmax()) if len(changes) else -1, int(pause)]
    return facts


def audible_noise(facts: list[list[int]]) -> dict[str, Audible]:
    """What each split can hear, from what `find_moves` found of each recording."""
    peaks, pauses = torch.tensor(facts).view(len(facts), len(SPLITS), 2).unbind(-1)
    found = {}
    for split, peak, pause in zip(SPLITS, peaks.T, pauses.T, strict=True):
        files = torch.nonzero(peak >= 0)[:, 0]
        found[split] = Audible(files, peak[files], max(pause[files].tolist(), default=0))
    return found


def span(tenths: tuple[int, int], lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What a split uses of recordings of noise: the first sample and how many, at least 1. Shape: as `lengths`, twice."""
    begin, end = tenths
    first = lengths * begin // 10
    return first, (lengths * end // 10 - first).clamp(min=1)


@dataclass
class Mixer:
    """Adds noise to clean speech; every draw is a function of a seed, the epoch and the clip. See `contracts.PairSource`."""

    clean: Pack
    noise: Pack
    audible: dict[str, Audible]
    snr_db: tuple[float, float]
    seed: int
    split_seed: int
    spans: Spans = field(default_factory=lambda: NOISE_SPANS)  # of each recording of noise, what a split hears
    changes = True

    @property
    def packs(self) -> dict[str, Pack]:
        return {"": self.clean}

    def to(self, device: torch.device) -> Mixer:
        clean, noise = move(device, self.clean, self.noise)
        place = noise.samples.device
        audible = {
            split: heard._replace(files=heard.files.to(place), peaks=heard.peaks.to(place))
            for split, heard in self.audible.items()
        }
        return replace(self, clean=clean, noise=noise, audible=audible)

    def load(self, batch: IndexBatch, take: Callable[[Pack], Tensor]) -> tuple[Tensor, Tensor]:
        """Training mixtures are others in every epoch, those of the scores are fixed.

        Speech and noise have their means taken out: what is asked for is the ratio of what can be heard.

        Shape: (batch, 1, time) twice, noisy and clean.
        """
        clean = without_mean(take(self.clean))
        training = batch.split == "train"
        draw_key = key("mix", self.seed, batch.epoch) if training else key("mix", batch.split, self.split_seed)
        draws = uniform(draw_key, batch.indices.to(clean.device), 3)
        noise = without_mean(self.stretch(batch.split, clean.shape[-1], draws[:, 0], draws[:, 1]))
        low, high = self.snr_db
        snr = (low + (high - low) * draws[:, 2])[:, None, None]
        power = clean.square().mean(-1, keepdim=True)
        ratio = power / noise.square().mean(-1, keepdim=True) / 10 ** (snr / 10)
        # Silence in either leaves the ratio without a meaning: silent speech gets the noise as it was recorded.
        gain = torch.where((power > 0) & torch.isfinite(ratio), ratio, torch.ones_like(ratio)).sqrt()
        return clean + gain * noise, clean

    def stretch(self, split: str, time: int, which: Tensor, where: Tensor) -> Tensor:
        """Stretches of `time` samples out of the split's span of random recordings, repeated where the span is shorter.

        One that is silent gives way to the loudest place of its span. No step waits for the device.

        Shape: which, where (batch,) in [0, 1) -> (batch, 1, time).
        """
        files, peaks, pause = self.audible[split]
        chosen = (which * len(files)).long()
        file = files[chosen]
        first, length = span(self.spans[split], self.noise.lengths[file])
        offset = (where * (length - time).clamp(min=1)).long()
        step = torch.arange(time, device=which.device)

        def cut_noise(offset: Tensor) -> Tensor:
            starts = self.noise.starts[file] + first
            # Where none is repeated; asked of a processor alone, since a GPU would have to be waited for.
            if offset.device.type == "cpu" and max((offset + time - length).tolist(), default=0) <= 0:
                return cut(self.noise.samples, starts, length, offset, time)
            return self.noise.samples[starts[:, None] + (offset[:, None] + step) % length[:, None]]

        samples = cut_noise(offset)
        if pause >= time:
            is_silent = (samples == samples[:, :1]).all(1)
            samples = cut_noise(torch.where(is_silent, (peaks[chosen] - time // 2) % length, offset))
        return (samples.float() * self.noise.gains[file][:, None])[:, None]

    def noise_stretches(self) -> Noise:
        """What each split hears of each recording of noise, for an audit."""
        stretches = {}
        for split, heard in self.audible.items():
            files = heard.files.cpu()
            first, length = span(self.spans[split], self.noise.lengths.cpu()[files])
            stretches[split] = torch.stack([files, first, first + length], 1).numpy()
        return Noise(len(self.noise.lengths), stretches)


def check_noise(mixer: Mixer, where: str) -> list[str]:
    """Sentences on noise that is left out or repeated.

    Raises:
        UserError: all of it is silent in what some split hears of it.
    """
    total, notes = len(mixer.noise.lengths), list[str]()
    for split, heard in mixer.audible.items():
        if not len(heard.files):
            begin, end = (10 * tenths for tenths in NOISE_SPANS[split])
            what = (
                f"the noise in {where} is silent from {begin} to {end} % of every recording, which is the {split} part"
            )
            raise UserError(what, fix="give recordings in which something can be heard throughout")
    if silent := total - min(len(heard.files) for heard in mixer.audible.values()):
        notes.append(f"noise: {silent} of {total} recordings are silent in the part of a split, which leaves them out")
    longest = int(mixer.clean.lengths.max())
    shortest = torch.minimum(*(span(mixer.spans[split], mixer.noise.lengths)[1] for split in ("val", "test")))
    if short := int((shortest < longest).sum()):
        notes.append(
            f"noise: of {short} of {total} recordings a split hears less than the longest speech lasts: it is repeated"
        )
    return notes
