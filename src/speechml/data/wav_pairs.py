"""Anybody's recordings: a folder `noisy/` and a folder `clean/` with equal names."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from speechml.contracts import SPLITS
from speechml.data.base import random_split
from speechml.data.pairs import PackedPairs, PairCorpus, PairDataModule, PairOptions
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
        self.root, self.stereo = Path(root).expanduser(), audio.checked(stereo)

    def read_corpus(self) -> PairCorpus:
        pairs = matched(self.root)
        paths = [p for pair in pairs.values() for p in pair]
        note = audio.resampling_note(paths, self.sample_rate)
        folder = build_once(self.cache / "packs" / stamp(paths, self.sample_rate, self.row, self.stereo), is_whole,
                            lambda part: pack_pairs(part, pairs, self.row, self.sample_rate, self.stereo))  # fmt: skip
        found = open_pack(folder)
        parts, protocol = self._parts(found.names)
        noisy, clean = found.roles["noisy"], found.roles["clean"]
        return PairCorpus(
            source=PackedPairs(noisy, clean), names=found.names, lengths=clean.lengths.tolist(), sums=found.sums, splits=parts,
            clips=clean.training_rows(parts["train"]), protocol=protocol, notes=[note] if note else [],
        )  # fmt: skip

    def _parts(self, names: list[str]) -> tuple[dict[str, list[int]], str]:
        """The folders train, val and test where they exist, else 60/20/20 by file."""
        given = {part: [i for i, name in enumerate(names) if name.startswith(f"{part}/")] for part in SPLITS}
        if not given["train"] and not given["test"]:
            return random_split(len(names), self.split_seed), "random"
        if not given["train"] or not given["test"]:
            absent = "train" if not given["train"] else "test"
            raise UserError(f"{self.root} has no pairs in {absent}/; give train/ and test/ (and val/), or none of them")
        if not given["val"]:
            kept = random_split(len(given["train"]), self.split_seed, (0.2, 0.0))
            train = given["train"]
            given["val"] = [train[i] for i in kept["val"]]
            given["train"] = [train[i] for i in kept["train"] + kept["test"]]
        return given, "official"


def pack_pairs(part: Path, pairs: dict[str, tuple[Path, Path]], row: int, sample_rate: int, stereo: str) -> None:
    """Read pairs of files (name -> noisy, clean) into a pack in the folder `part`.

    Args:
        row: length of a training clip in samples.
        sample_rate: Hz that all are brought to.
        stereo: as in `audio.load`.

    Raises:
        UserError: a file cannot be read, or the two of a pair differ in length.
    """
    writer = PackWriter(part, ("noisy", "clean"), row)
    for name, (noisy, clean) in progress(pairs.items(), len(pairs), "reading pairs"):
        waveforms = {side: audio.load(path, sample_rate, stereo) for side, path in (("noisy", noisy), ("clean", clean))}
        if len(waveforms["noisy"]) != len(waveforms["clean"]):
            counts = ", ".join(f"{path} has {audio.info(path).frames} samples" for path in (noisy, clean))
            raise UserError(f"{counts}; a pair must have equal lengths: cut or align them")
        writer.add(name, "", waveforms)
    writer.close()


def matched(root: Path) -> dict[str, tuple[Path, Path]]:
    """Name -> (noisy file, clean file), by name; names start with `train/`, `val/` or `test/` where there are such folders.

    Raises:
        UserError: a folder is missing or empty, or a file has no partner, or two.
    """
    if not root.is_dir():
        raise UserError(f"{root} is no folder; give one that holds noisy/ and clean/ with data.root=FOLDER")
    divisions = [part for part in SPLITS if (root / part).is_dir()] or [""]
    pairs: dict[str, tuple[Path, Path]] = {}
    for division in divisions:
        sides = [_by_name(root / division / side, f"{division}/" if division else "") for side in ("noisy", "clean")]
        alone = sorted(set(sides[0]) ^ set(sides[1]))
        if alone:
            side, other = ("noisy", "clean") if alone[0] in sides[0] else ("clean", "noisy")
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise UserError(
                f"{root / division}: {alone[0]} is in {side}/ but not in {other}/{more}; a pair has equal names in both"
            )
        pairs |= {name: (sides[0][name], sides[1][name]) for name in sides[0]}
    return pairs


def _by_name(folder: Path, prefix: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in audio.find(folder):
        name = prefix + path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{found[name]} and {path} have one name; keep one of them")
        found[name] = path
    return found


def stamp(paths: list[Path], *settings: object) -> str:
    """A name for a pack that changes with the files' names, sizes and times, and with the settings it is made by."""
    return fingerprint(
        [(str(p.absolute()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths], [str(s) for s in settings]
    )
