"""Pairs of audio files: folders `noisy/` and `clean/` with equal names."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from speechml.contracts import SPLITS
from speechml.data import schema
from speechml.data.name_patterns import read_speakers
from speechml.data.name_rules import find_in_names, speaker_rule
from speechml.data.pair_fit import ALIGNED_S, MEASURING, Fit, fit_notes, measure
from speechml.data.pairs import PairCorpus, PairDataModule, packed_pairs
from speechml.data.provenance import speaker_in
from speechml.data.speaker_splits import speaker_notes
from speechml.data.splits import random_split, split_by_speaker
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.audio_folders import find_audio, resampling_notes
from speechml.storage.pack import PackedCorpus, Recording, file_fingerprint

READING = 2  # raise it when files are read or cut otherwise: packs made before are then made anew
SLACK = 3  # samples by which a pair may differ in length, at the lower of its rates
SIDES = ("noisy", "clean")  # folders of a pair
NAMED = 20  # pairs that a message names


class FilePairs(PairDataModule, schema.PairFiles):
    """Base of the data modules whose pairs are audio files."""

    def pack_files(self, pairs: dict[str, tuple[Path, Path]]) -> PackedCorpus:
        """Noisy and clean file of each name, read once; notes say what was done to them, and which do not fit."""
        paths = [path for pair in pairs.values() for path in pair]
        resampled = resampling_notes(paths, self.sample_rate)  # which also says what cannot be read, in time
        name = file_fingerprint(paths, self.sample_rate, self.row, self.stereo, READING, MEASURING, self.align)
        pack = self.pack(name, self.row, self._read(pairs), len(pairs))
        fits = [Fit(*facts) for facts in pack.facts]
        notes = fit_notes(pack.names, fits, self.sample_rate, can_align=not self.align)
        return replace(pack, notes=[*pack.notes, *resampled, *notes])

    def _read(self, pairs: dict[str, tuple[Path, Path]]) -> Iterator[Recording]:
        """Read pairs. Raises UserError where a file cannot be read, or pairs, all of which it names, differ in length."""
        unequal: list[str] = []
        for name, (noisy, clean) in pairs.items():
            one, other = (audio.load(path, self.sample_rate, self.stereo) for path in (noisy, clean))
            length = min(len(one), len(other))
            cut = max(len(one), len(other)) - length
            if cut and (cut > self._slack(noisy, clean) or not length):
                unequal.append(f"{name} has {len(one)} noisy and {len(other)} clean samples")
                continue
            one, other = one[:length], other[:length]
            fit = measure(one, other)
            if self.align and 0 < abs(fit.delay) <= ALIGNED_S * self.sample_rate:
                late, early = max(fit.delay, 0), max(-fit.delay, 0)
                one, other = one[late : length - early], other[early : length - late]
                fit = fit._replace(delay=0, shift=fit.delay)
            yield Recording(name, {"noisy": one, "clean": other}, facts=fit._replace(cut=cut))
        if unequal:
            more = f"; and {len(unequal) - NAMED} more" if len(unequal) > NAMED else ""
            what = "; ".join(unequal[:NAMED]) + f"{more} (at {self.sample_rate} Hz)"
            raise UserError(what, fix="a pair must have equal lengths: cut or align them")

    def _slack(self, *paths: Path) -> int:
        """Samples by which two files may differ."""
        return SLACK * math.ceil(max(1.0, *(self.sample_rate / audio.info(path).rate for path in paths)))


class WavPairs(schema.WavPairs, FilePairs):
    """Pairs of audio files with equal names in `noisy/` and `clean/`, split 60/20/20 by file, or by what `speaker` finds.

    Where the folder holds `train/` and `test/` (and `val/`), each with `noisy/` and `clean/`, these are the splits;
    without `val/`, a fifth of the training files takes its place. A folder with `test/` alone, or `split=all`, is a test set.
    """

    remedy = "give at least 3, or folders train/, val/ and test/"

    def read_corpus(self) -> PairCorpus:
        pairs, notes = match_pairs(self.root)
        speakers, name_notes = self._speakers(pairs)  # before the files are read
        pack = self.pack_files(pairs)
        splits, protocol = self._split(pack.names, speakers)
        if protocol == "speaker" or (speakers and protocol == "random"):
            notes += speaker_notes(speakers) if self.split != "all" else []
        known = {speaker_in(name) for name in pack.names}
        if protocol == "random" and self.speaker is None and not speakers and None not in known and len(known) > 1:
            notes.append(
                f"names tell {len(known)} speakers, and files are divided by chance: set data.speaker to divide by them"
            )
        corpus = packed_pairs(pack, splits, protocol, [*name_notes, *notes], speakers)
        return replace(corpus, is_test_set=not splits["train"] and bool(splits["test"]))

    def _speakers(self, pairs: dict[str, tuple[Path, Path]]) -> tuple[list[str], list[str]]:
        """Who speaks in each pair, by the name of its clean file in clean/, and a sentence where no key says so.

        Nothing where neither `speaker` nor names that are all alike say it.
        """
        paths = [clean.relative_to(self.root) for _, clean in pairs.values()]  # clean/... or train/clean/...
        files = [path.relative_to(Path(*path.parts[: 1 + (path.parts[0] != "clean")])).as_posix() for path in paths]
        if (rule := speaker_rule(self.speaker)) is not None:
            return find_in_names(rule, files), []
        parts = read_speakers(files) if self.speaker is None else None
        return (parts.speakers, [parts.note]) if parts else ([], [])

    def _split(self, names: list[str], speakers: list[str]) -> tuple[dict[str, list[int]], str]:
        """The folders train, val and test where they exist, else 60/20/20 by speaker or file; and the protocol."""
        splits = {split: [i for i, name in enumerate(names) if name.startswith(f"{split}/")] for split in SPLITS}
        train = splits["train"]
        if not any(splits.values()) and speakers:
            return split_by_speaker(speakers, self.split_seed)
        if not any(splits.values()):
            return random_split(len(names), self.split_seed), "random"
        if not splits["test"] and self.split != "all":
            what = f"{self.root} has no pairs in test/"
            raise UserError(what, fix="give train/ and test/ (and val/), test/ alone to be scored, or none of them")
        if train and not splits["val"]:
            kept = random_split(len(train), self.split_seed, (0.2, 0.0))
            splits["val"] = [train[i] for i in kept["val"]]
            splits["train"] = [train[i] for i in kept["train"] + kept["test"]]
        return splits, "official"


def match_pairs(root: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Name -> (noisy file, clean file), by name, and sentences on what is not used.

    Names start with `train/`, `val/` or `test/` where there are such folders.

    Raises:
        UserError: a folder is missing or empty, or a file has no partner, or two.
    """
    is_half = root.name in SIDES and (root.parent / "noisy").is_dir()
    is_half &= not any((root / name).is_dir() for name in (*SIDES, *SPLITS))
    if not root.is_dir() or is_half:
        what = f"{root} is {'one half of the pairs' if is_half else 'no folder'}"
        raise UserError(what, fix="give the folder that holds noisy/ and clean/ with data.root=FOLDER")
    pairs: dict[str, tuple[Path, Path]] = {}
    parts, notes = [split for split in SPLITS if (root / split).is_dir()] or [""], list[str]()
    for split in parts:
        noisy, clean = (_by_name(root / split / side, f"{split}/" * bool(split), notes) for side in SIDES)
        if unmatched := sorted(noisy.keys() ^ clean.keys()):
            side, other = ("noisy", "clean") if unmatched[0] in noisy else ("clean", "noisy")
            more = f" (and {len(unmatched) - 1} more)" if len(unmatched) > 1 else ""
            what = f"{root / split}: {unmatched[0]} is in {side}/ but not in {other}/{more}"
            raise UserError(what, fix="a pair has equal names in both")
        pairs |= {name: (noisy[name], clean[name]) for name in noisy}
    others = [root.absolute()] if parts != [""] else []
    others += sorted(path for path in root.iterdir() if path.name not in parts and path.name[0] != ".")
    # Path.is_dir raises where a folder may not be entered.
    unused = [path.name for path in others if os.path.isdir(path / "noisy")]  # noqa: PTH112
    if unused:
        notes.append(f"noisy/ and clean/ in {', '.join(unused)} are not used: splits are called train/, val/ and test/")
    return pairs, notes


def _by_name(folder: Path, prefix: str, notes: list[str]) -> dict[str, Path]:
    """The audio files of a folder by their names without extension; what of it is not used is added to `notes`."""
    files: dict[str, Path] = {}
    paths, unread = find_audio(folder)
    notes += unread
    for path in paths:
        name = prefix + path.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            raise UserError(f"{files[name]} and {path} have one name", fix="keep one of them")
        files[name] = path
    return files
