"""Pairs of audio files: folders `noisy/` and `clean/` with equal names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from speechml.contracts import SPLITS
from speechml.data import schema
from speechml.data.pairs import PairCorpus, PairDataModule, packed_pairs
from speechml.data.splits import random_split
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.pack import PackedCorpus, Recording, file_fingerprint


class FilePairs(PairDataModule, schema.Files):
    """Base of the data modules whose pairs are audio files."""

    def pack_files(self, pairs: dict[str, tuple[Path, Path]]) -> PackedCorpus:
        """Noisy and clean file of each name, read once; a note says what was resampled."""
        paths = [path for pair in pairs.values() for path in pair]
        notes = audio.resampling_notes(paths, self.sample_rate)
        name = file_fingerprint(paths, self.sample_rate, self.row, self.stereo)
        pack = self.pack(name, self.row, self._read(pairs), len(pairs))
        return replace(pack, notes=[*pack.notes, *notes])

    def _read(self, pairs: dict[str, tuple[Path, Path]]) -> Iterator[Recording]:
        """Read pairs. Raises UserError where a file cannot be read, or the two of a pair differ in length."""
        for name, (noisy, clean) in pairs.items():
            waveforms = {
                role: audio.load(path, self.sample_rate, self.stereo)
                for role, path in (("noisy", noisy), ("clean", clean))
            }
            if len(waveforms["noisy"]) != len(waveforms["clean"]):
                counts = ", ".join(f"{path} has {audio.info(path).frames} samples" for path in (noisy, clean))
                raise UserError(counts, fix="a pair must have equal lengths: cut or align them")
            yield Recording(name, waveforms)


class WavPairs(schema.WavPairs, FilePairs):
    """Pairs of audio files with equal names in `noisy/` and `clean/`, split 60/20/20 by file.

    Where the folder holds `train/` and `test/` (and `val/`), each with `noisy/` and `clean/`, these are the splits;
    without `val/`, a fifth of the training files takes its place.
    """

    remedy = "give at least 3, or folders train/, val/ and test/"

    def read_corpus(self) -> PairCorpus:
        pack = self.pack_files(match_pairs(self.root))
        return packed_pairs(pack, *self._split(pack.names))

    def _split(self, names: list[str]) -> tuple[dict[str, list[int]], str]:
        """The folders train, val and test where they exist, else 60/20/20 by file; and the protocol."""
        splits = {split: [i for i, name in enumerate(names) if name.startswith(f"{split}/")] for split in SPLITS}
        train = splits["train"]
        if not train and not splits["test"]:
            return random_split(len(names), self.split_seed), "random"
        if not train or not splits["test"]:
            what = f"{self.root} has no pairs in {'test' if train else 'train'}/"
            raise UserError(what, fix="give train/ and test/ (and val/), or none of them")
        if not splits["val"]:
            kept = random_split(len(train), self.split_seed, (0.2, 0.0))
            splits["val"] = [train[i] for i in kept["val"]]
            splits["train"] = [train[i] for i in kept["train"] + kept["test"]]
        return splits, "official"


def match_pairs(root: Path) -> dict[str, tuple[Path, Path]]:
    """Name -> (noisy file, clean file), by name; names start with `train/`, `val/` or `test/` where there are such folders.

    Raises:
        UserError: a folder is missing or empty, or a file has no partner, or two.
    """
    if not root.is_dir():
        raise UserError(f"{root} is no folder", fix="give one that holds noisy/ and clean/ with data.root=FOLDER")
    pairs: dict[str, tuple[Path, Path]] = {}
    for split in [split for split in SPLITS if (root / split).is_dir()] or [""]:
        noisy, clean = (_by_name(root / split / side, f"{split}/" * bool(split)) for side in ("noisy", "clean"))
        if unmatched := sorted(noisy.keys() ^ clean.keys()):
            side, other = ("noisy", "clean") if unmatched[0] in noisy else ("clean", "noisy")
            more = f" (and {len(unmatched) - 1} more)" if len(unmatched) > 1 else ""
            what = f"{root / split}: {unmatched[0]} is in {side}/ but not in {other}/{more}"
            raise UserError(what, fix="a pair has equal names in both")
        pairs |= {name: (noisy[name], clean[name]) for name in noisy}
    return pairs


def _by_name(folder: Path, prefix: str) -> dict[str, Path]:
    """The audio files of a folder by their names without extension."""
    files: dict[str, Path] = {}
    for path in audio.find(folder):
        name = prefix + path.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            raise UserError(f"{files[name]} and {path} have one name", fix="keep one of them")
        files[name] = path
    return files
