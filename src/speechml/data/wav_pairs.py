"""Anybody's recordings: a folder `noisy/` and a folder `clean/` with equal names."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Unpack

from speechml.contracts import SPLITS
from speechml.data.base import random_split
from speechml.data.pairs import PairCorpus, PairDataModule, PairOptions, packed_pairs
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.files import build_once
from speechml.storage.pack import PackWriter, fingerprint, is_whole, open_pack
from speechml.storage.progress import progress


class WavPairs(PairDataModule):
    """Pairs of audio files with equal names in `noisy/` and `clean/`, divided 60/20/20 by file.

    Where the folder holds `train/` and `test/` (and `val/`), each with `noisy/` and `clean/`, these are the parts; without
    `val/`, a fifth of the training files takes its place.

    Args:
        root: the folder.
        stereo: `mix` averages channels, `refuse` accepts mono files only.
    """

    def __init__(self, root: str, stereo: str = "mix", **common: Unpack[PairOptions]) -> None:
        super().__init__(**common)
        self.root, self.stereo = Path(root).expanduser(), audio.check_stereo(stereo)

    def read_corpus(self) -> PairCorpus:
        pairs = match_pairs(self.root)
        paths = [p for pair in pairs.values() for p in pair]
        note = audio.resampling_note(paths, self.sample_rate)
        name = stamp(paths, self.sample_rate, self.row, self.stereo)
        build = partial(pack_pairs, pairs=pairs, row=self.row, sample_rate=self.sample_rate, stereo=self.stereo)
        found = open_pack(build_once(self.cache / "packs" / name, is_whole, build))
        splits, protocol = self._split(found.names)
        return packed_pairs(found, splits, protocol, [note] if note else [])

    def _split(self, names: list[str]) -> tuple[dict[str, list[int]], str]:
        """The folders train, val and test where they exist, else 60/20/20 by file."""
        splits = {split: [i for i, name in enumerate(names) if name.startswith(f"{split}/")] for split in SPLITS}
        train = splits["train"]
        if not train and not splits["test"]:
            return random_split(len(names), self.split_seed), "random"
        if not train or not splits["test"]:
            absent = "test" if train else "train"
            raise UserError(
                f"{self.root} has no pairs in {absent}/", fix="give train/ and test/ (and val/), or none of them"
            )
        if not splits["val"]:
            kept = random_split(len(train), self.split_seed, (0.2, 0.0))
            splits["val"] = [train[i] for i in kept["val"]]
            splits["train"] = [train[i] for i in kept["train"] + kept["test"]]
        return splits, "official"


def pack_pairs(folder: Path, pairs: dict[str, tuple[Path, Path]], row: int, sample_rate: int, stereo: str) -> None:
    """Read pairs of files (name -> noisy, clean) into a pack in a folder.

    Args:
        row: length of a training clip in samples.
        sample_rate: Hz that all are brought to.
        stereo: as in `audio.load`.

    Raises:
        UserError: a file cannot be read, or the two of a pair differ in length.
    """
    writer = PackWriter(folder, ("noisy", "clean"), row)
    for name, (noisy, clean) in progress(pairs.items(), len(pairs), "reading pairs"):
        waveforms = {side: audio.load(path, sample_rate, stereo) for side, path in (("noisy", noisy), ("clean", clean))}
        if len(waveforms["noisy"]) != len(waveforms["clean"]):
            counts = ", ".join(f"{path} has {audio.info(path).frames} samples" for path in (noisy, clean))
            raise UserError(counts, fix="a pair must have equal lengths: cut or align them")
        writer.add(name, "", waveforms)
    writer.close()


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
            raise UserError(
                f"{root / split}: {unmatched[0]} is in {side}/ but not in {other}/{more}",
                fix="a pair has equal names in both",
            )
        pairs |= {name: (noisy[name], clean[name]) for name in noisy}
    return pairs


def _by_name(folder: Path, prefix: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in audio.find(folder):
        name = prefix + path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{found[name]} and {path} have one name", fix="keep one of them")
        found[name] = path
    return found


def stamp(paths: list[Path], *settings: object) -> str:
    """A name for a pack that changes with the files' names, sizes and times, and with the settings it is made by."""
    return fingerprint(
        [(str(p.absolute()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths], [str(s) for s in settings]
    )
