"""Recordings decoded once into one flat array, so that a batch is a gather by index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechml.storage.files import builds

if TYPE_CHECKING:
    from speechml.storage.audio import Samples

FORMAT = 2  # raise it when the layout below or decoding changes, and packs made before are built anew


class Recording(NamedTuple):
    """A recording that a pack is to hold.

    waveforms: of equal length (time,), int16 or float, one a role (`noisy`, `clean`, ...). remark: what was done to it, empty if
    nothing; None where it is not counted. facts: plain values that are kept beside it.
    """

    name: str
    waveforms: Mapping[str, Samples]
    speaker: str = ""
    remark: str | None = None
    facts: Sequence[float | str] = ()


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a complete pack of the present format."""
    try:
        index = json.loads((folder / "index.json").read_text())
        rows = sum(-(-length // index["row"]) for length in index["lengths"])
        sizes = [(folder / f"{role}.i16").stat().st_size for role in index["gains"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return index["format"] == FORMAT and all(size == rows * index["row"] * 2 for size in sizes)


@dataclass
class Pack:
    """Recordings of one role, as `Pack.gather_rows` and `Pack.whole` hand them out.

    samples: (all,) int16 or float32; starts, lengths: (recordings,) in samples; gains: (recordings,);
    row_file: (rows,) the recording each row belongs to.
    """

    samples: Tensor
    starts: Tensor
    lengths: Tensor
    gains: Tensor
    row: int
    row_file: Tensor

    @classmethod
    def of(cls, samples: Tensor, lengths: list[int], gains: list[float], row: int) -> Pack:
        """A pack around samples that are laid out as `write_pack` does."""
        rows = torch.tensor([-(-length // row) for length in lengths])
        ends = rows.cumsum(0)
        return cls(
            samples, (ends - rows) * row, torch.tensor(lengths), torch.tensor(gains, dtype=torch.float32), row,
            torch.repeat_interleave(torch.arange(len(lengths)), rows),
        )  # fmt: skip

    def to(self, device: torch.device) -> Pack:
        """The pack on another device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if name != "row"}
        return Pack(**tensors, row=self.row)

    def recording(self, number: int) -> Samples:
        """The samples of one recording as they are packed. Shape: (time,)."""
        first = int(self.starts[number])
        samples: Samples = self.samples[first : first + int(self.lengths[number])].numpy()
        return samples

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Clips of `row` samples. Shape: rows (batch,) int64 -> (batch, 1, row) float32."""
        rows = rows.to(self.samples.device)
        clips = self.samples.view(-1, self.row)[rows].float()
        return (clips * self.gains[self.row_file[rows]][:, None])[:, None]

    def whole(self, files: Tensor) -> Tensor:
        """Whole recordings of one length. Shape: files (batch,) int64 -> (batch, 1, time) float32."""
        files = files.to(self.samples.device)
        length = int(self.lengths[files[0]])
        parts = [self.samples[start : start + length] for start in self.starts[files].tolist()]
        return (torch.stack(parts).float() * self.gains[files][:, None])[:, None]

    def stretches(self, files: Tensor, first: Tensor, length: int) -> Tensor:
        """Samples of recordings from any sample on, zeros before their begin and after their end.

        Shape: files, first (batch,) int64 -> (batch, 1, length) float32.
        """
        files, first = files.to(self.samples.device), first.to(self.samples.device)
        starts, lengths = self.starts[files], self.lengths[files]
        return (cut(self.samples, starts, lengths, first, length) * self.gains[files][:, None])[:, None]

    def training_rows(self, files: list[int]) -> Tensor:
        """The rows of some recordings that are at least half full, and the first of each. Shape: (rows,) int64."""
        wanted = torch.isin(self.row_file, torch.tensor(files, dtype=torch.long))
        starts, lengths = self.starts[self.row_file], self.lengths[self.row_file]
        first = torch.arange(len(self.row_file)) * self.row
        keep = ((starts + lengths - first) * 2 >= self.row) | (first == starts)
        return torch.nonzero(wanted & keep)[:, 0]


def cut(samples: Tensor, starts: Tensor, lengths: Tensor, first: Tensor, length: int) -> Tensor:
    """`length` samples of each of several parts of `samples`, from any place of a part on, zeros outside of it.

    A processor copies slices, twenty times as fast as it gathers by index; a GPU gathers, so that nothing waits for it.

    Shape: samples (all,), starts and lengths of parts, first, from their starts on, (batch,) int64 -> (batch, length) float32.
    """
    if samples.device.type == "cpu":
        rows = torch.zeros(len(first), length)
        for row, start, size, begin in zip(rows, starts.tolist(), lengths.tolist(), first.tolist(), strict=True):
            low, high = max(begin, 0), min(begin + length, size)
            if low < high:
                row[low - begin : high - begin] = samples[start + low : start + high]
        return rows
    place = first[:, None] + torch.arange(length, device=first.device)
    inside = (place >= 0) & (place < lengths[:, None])
    index = starts[:, None] + torch.minimum(place.clamp(min=0), lengths[:, None] - 1)
    return samples[index].float() * inside


def move(device: torch.device, *packs: Pack) -> list[Pack]:
    """Packs on a device, or as they are where they would take more than half of a GPU's free memory."""
    size = sum(pack.samples.nbytes for pack in packs)
    if device.type == "cuda" and size * 2 > torch.cuda.mem_get_info(device)[0]:
        return list(packs)
    return [pack.to(device) for pack in packs]


@dataclass
class PackedCorpus:
    """What an index says of a pack: one name, speaker, checksum and facts a recording, a Pack a role, and what was done."""

    names: list[str]
    speakers: list[str]
    sums: list[str]
    roles: dict[str, Pack]
    notes: list[str]
    facts: list[list[Any]] = field(default_factory=list)


def open_pack(folder: Path) -> PackedCorpus:
    """A pack from disk, its samples memory-mapped."""
    index = json.loads((folder / "index.json").read_text())
    roles = {}
    for role, gains in index["gains"].items():
        # Mode c: pages are shared with other processes until somebody writes, and torch accepts the array as writable.
        samples = torch.from_numpy(np.memmap(folder / f"{role}.i16", np.int16, "c"))
        roles[role] = Pack.of(samples, index["lengths"], gains, index["row"])
    return PackedCorpus(
        index["names"], index["speakers"], index["sums"], roles, index.get("notes", []), index.get("facts", [])
    )


def pack_once(folder: Path, row: int, recordings: Iterable[Recording], total: int) -> PackedCorpus:
    """The pack in `folder`, made of `recordings` unless it is there; they are read only then.

    Raises:
        UserError: as `building.build_once`, and what reading a recording raises.
    """

    if is_whole(folder):
        builds.setdefault(folder, False)
        return open_pack(folder)
    from tqdm import tqdm

    from speechml.storage.building import build_once
    from speechml.storage.pack_writing import write_pack

    def build(part: Path) -> None:
        write_pack(part, row, tqdm(recordings, "packing recordings", total, leave=False, disable=None))

    return open_pack(build_once(folder, is_whole, build))


def file_fingerprint(paths: Iterable[Path], *settings: object) -> str:
    """A name for a pack that changes with the files' names, sizes and times, and with the settings it is made by."""
    files = [(str(path.absolute()), (status := path.stat()).st_size, status.st_mtime_ns) for path in paths]
    return fingerprint(files, [str(setting) for setting in settings])


def fingerprint(*parts: object) -> str:
    """A short hash of plain values, for telling data sets and splits apart."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
