"""Recordings decoded once into one flat array, so that a batch is a gather by index."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechml.storage.files import write_json

if TYPE_CHECKING:
    from speechml.storage.audio import Samples

FORMAT = 1  # raise it when the layout below changes, and packs made before are built anew


class PackWriter:
    """Writes a pack: per role (`noisy`, `clean`, ...) one int16 file, and an index of the recordings in it.

    Every recording begins at a multiple of `row` samples and is padded with zeros to the next, so that training clips
    of `row` samples are rows of one matrix.
    """

    def __init__(self, folder: Path, roles: tuple[str, ...], row: int) -> None:
        self.folder, self.row = folder, row
        self.files = {role: (folder / f"{role}.i16").open("wb") for role in roles}
        self.index: dict[str, list[str | int]] = {"names": [], "speakers": [], "lengths": [], "sums": []}
        self.gains: dict[str, list[float]] = {role: [] for role in roles}

    def add(self, name: str, speaker: str, waveforms: dict[str, Samples]) -> None:
        """Append one recording: waveforms of equal length (time,), int16 or float, one a role."""
        digest = hashlib.sha256()
        length = len(next(iter(waveforms.values())))
        for role, waveform in waveforms.items():
            samples, gain = quantised(waveform)
            padded = np.zeros(-(-length // self.row) * self.row, np.int16)
            padded[:length] = samples
            self.files[role].write(padded.tobytes())
            self.gains[role].append(gain)
            digest.update(samples.tobytes() + np.float32(gain).tobytes())
        for key, value in (("names", name), ("speakers", speaker), ("lengths", length), ("sums", digest.hexdigest())):
            self.index[key].append(value)

    def close(self, notes: list[str] | None = None) -> None:
        """Finish the files and write the index, which makes the pack whole; `notes` tell what was done to the recordings."""
        for file in self.files.values():
            file.close()
        about = {"format": FORMAT, "row": self.row, "notes": notes or []}
        write_json(self.folder / "index.json", {**about, **self.index, "gains": self.gains})


def quantised(waveform: Samples) -> tuple[Samples, float]:
    """A waveform as int16 and the factor that brings it back.

    16-bit input is kept as it is (factor 1/32768); anything else uses the whole range for its own peak, so that the
    rounding lies about 98 dB below a full-scale sine whatever the level.
    """
    if waveform.dtype == np.int16:
        return waveform, 1.0 / 32768
    peak = float(np.abs(waveform).max(initial=0.0))
    gain = float(np.float32(peak / 32767)) or 1.0
    return np.round(np.clip(waveform / gain, -32767, 32767)).astype(np.int16), gain


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
        """A pack around samples that are laid out as PackWriter does."""
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
        lengths = self.lengths[files][:, None]
        place = first[:, None] + torch.arange(length, device=first.device)
        inside = (place >= 0) & (place < lengths)
        index = self.starts[files][:, None] + torch.minimum(place.clamp(min=0), lengths - 1)
        return (self.samples[index] * (self.gains[files][:, None] * inside))[:, None]

    def training_rows(self, files: list[int]) -> Tensor:
        """The rows of some recordings that are at least half full, and the first of each. Shape: (rows,) int64."""
        wanted = torch.zeros(len(self.lengths), dtype=torch.bool)
        wanted[files] = True
        row_file = self.row_file.cpu()
        starts, lengths = self.starts.cpu()[row_file], self.lengths.cpu()[row_file]
        first = torch.arange(len(row_file)) * self.row
        keep = ((starts + lengths - first) * 2 >= self.row) | (first == starts)
        return torch.nonzero(wanted[row_file] & keep)[:, 0]


@dataclass
class PackedCorpus:
    """What an index says of a pack: one name, speaker and checksum a recording, a Pack a role, and what was done to them."""

    names: list[str]
    speakers: list[str]
    sums: list[str]
    roles: dict[str, Pack]
    notes: list[str]


def open_pack(folder: Path) -> PackedCorpus:
    """A pack from disk, its samples memory-mapped."""
    index = json.loads((folder / "index.json").read_text())
    roles = {}
    for role, gains in index["gains"].items():
        # Mode c: pages are shared with other processes until somebody writes, and torch accepts the array as writable.
        samples = torch.from_numpy(np.memmap(folder / f"{role}.i16", np.int16, "c"))
        roles[role] = Pack.of(samples, index["lengths"], gains, index["row"])
    return PackedCorpus(index["names"], index["speakers"], index["sums"], roles, index.get("notes", []))


def fingerprint(*parts: object) -> str:
    """A short hash of plain values, for telling data sets and splits apart."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
