"""The labs' own recordings: a `.pt` file with a list of (noisy, clean) tensors."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from speechml.data.base import random_split
from speechml.data.pairs import PackedPairs, PairCorpus, PairDataModule, PairOptions
from speechml.errors import UserError
from speechml.storage.pack import Pack, fingerprint


class LabPairs(PairDataModule):
    """Pairs of labs 2A and 2B: `[(noisy, clean), ...]`, float tensors of (1, samples), all of one length.

    100 random pairs are test, as in the labs; another 100 of the training pairs are kept for validation. Files with
    fewer than 500 pairs give a fifth to each.

    Args:
        root: the file, or a folder with one `.pt` file.
        test_pairs: pairs for test, and as many for validation.
    """

    def __init__(self, root: str, test_pairs: int = 100, **common: Unpack[PairOptions]) -> None:
        super().__init__(**common)
        self.root, self.test_pairs = Path(root).expanduser(), test_pairs

    def read_corpus(self) -> PairCorpus:
        path = self._file()
        noisy, clean = read_pairs(path)
        count, samples = noisy.shape
        each = min(self.test_pairs, count // 5)
        splits = random_split(count, self.split_seed, (each / count, each / count))
        packs = [Pack.of(pad_rows(w, self.row), [samples] * count, [1.0] * count, self.row) for w in (noisy, clean)]
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        return PairCorpus(
            source=PackedPairs(*packs), names=[f"{path.stem}_{i:04d}" for i in range(count)], lengths=[samples] * count,
            sums=[fingerprint(checksum, i) for i in range(count)],
            splits=splits, clips=packs[0].training_rows(splits["train"]), protocol="random",
            notes=["pairs divided at random as in the labs: one speaker may be in several parts"],
        )  # fmt: skip

    def _file(self) -> Path:
        if not self.root.exists():
            raise UserError(f"{self.root} does not exist", fix="give the labs' .pt file with data.root=FILE")
        if self.root.is_file():
            return self.root
        found = sorted(self.root.glob("*.pt"))
        if len(found) != 1:
            names = ", ".join(p.name for p in found) or "none"
            raise UserError(f"{self.root} holds {len(found)} .pt files", names, "name one with data.root=FILE")
        return found[0]


def read_pairs(path: Path) -> tuple[Tensor, Tensor]:
    """Noisy and clean waveforms of a lab file, read without running anything that it may contain.

    Shape: (pairs, time) twice, float32.

    Raises:
        UserError: no list of pairs, code instead of tensors, unequal lengths, NaN or Inf; the message names the pair.
    """
    try:
        pairs = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds more than tensors, or is no torch file", fix="nothing in it was run"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise UserError(f"{path} cannot be read as a torch file", fix="copy it again (it may be cut short)") from error
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise UserError(f"{path} holds {type(pairs).__name__}, not the labs' list of (noisy, clean) pairs")
    rows = [_checked_pair(pair, f"{path}: ", i) for i, pair in enumerate(pairs)]
    samples = rows[0].shape[1]
    for i, row in enumerate(rows):
        if row.shape[1] != samples:
            raise UserError(
                f"{path}: pair {i} has {row.shape[1]} samples, but all waveforms must have {samples}, as in pair 0",
                fix="cut them to one length",
            )
    noisy, clean = torch.stack(rows, 1)
    return noisy, clean


def _checked_pair(pair: object, where: str, number: int) -> Tensor:
    """A pair of a lab file, refused where it is none. Shape: (2, time), noisy and clean."""
    waves = [w for w in pair if _is_waveform(w)] if isinstance(pair, (list, tuple)) and len(pair) == 2 else []
    if len(waves) < 2:
        raise UserError(f"{where}item {number} is not a pair (noisy, clean) of float tensors (1, samples)")
    noisy, clean = (wave.detach().float().reshape(-1) for wave in waves)
    if len(noisy) != len(clean):
        raise UserError(
            f"{where}pair {number} has {len(noisy)} noisy and {len(clean)} clean samples", fix="cut them to one length"
        )
    if not bool(torch.isfinite(both := torch.stack([noisy, clean])).all()):
        raise UserError(f"{where}pair {number} holds NaN or infinite samples", fix="leave it out")
    return both


def _is_waveform(wave: object) -> bool:
    return isinstance(wave, Tensor) and wave.is_floating_point() and wave.numel() > 0 and wave.shape[-1] == wave.numel()


def pad_rows(waveforms: Tensor, row: int) -> Tensor:
    """Waveforms of one length laid out as a pack, each padded with zeros to a multiple of `row` samples.

    Shape: (pairs, time) -> (all,).
    """
    return torch.nn.functional.pad(waveforms, (0, -waveforms.shape[1] % row)).reshape(-1)
