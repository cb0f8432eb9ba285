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
        noisy, clean = pairs_of(path)
        count, samples = noisy.shape
        each = min(self.test_pairs, count // 5)
        parts = random_split(count, self.split_seed, (each / count, each / count))
        packs = [Pack.of(padded(w, self.row), [samples] * count, [1.0] * count, self.row) for w in (noisy, clean)]
        names = [f"{path.stem}_{i:04d}" for i in range(count)]
        whole = _sum_of(path)
        return PairCorpus(
            source=PackedPairs(*packs), names=names, lengths=[samples] * count,
            sums=[fingerprint(whole, i) for i in range(count)],
            splits=parts, clips=packs[0].training_rows(parts["train"]), protocol="random",
            notes=["pairs divided at random as in the labs: one speaker may be in several parts"],
        )  # fmt: skip

    def _file(self) -> Path:
        if not self.root.exists():
            raise UserError(f"{self.root} does not exist; give the labs' .pt file with data.root=FILE")
        if self.root.is_file():
            return self.root
        found = sorted(self.root.glob("*.pt"))
        if len(found) != 1:
            named = ", ".join(p.name for p in found) or "none"
            raise UserError(f"{self.root} holds {len(found)} .pt files ({named}); name one with data.root=FILE")
        return found[0]


def pairs_of(path: Path) -> tuple[Tensor, Tensor]:
    """Noisy and clean waveforms of a lab file, read without running anything that it may contain.

    Shape: (pairs, time) twice, float32.

    Raises:
        UserError: no list of pairs, code instead of tensors, unequal lengths, NaN or Inf; the message names the pair.
    """
    try:
        pairs = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds more than tensors, or is no torch file; nothing in it was run"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise UserError(f"{path} cannot be read as a torch file; copy it again (it may be cut short)") from error
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise UserError(f"{path} holds {type(pairs).__name__}, not the labs' list of (noisy, clean) pairs")
    columns: tuple[list[Tensor], list[Tensor]] = ([], [])
    for i, pair in enumerate(pairs):
        good = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not good or not all(
            isinstance(w, Tensor) and w.is_floating_point() and w.numel() > 0 and w.shape[-1] == w.numel() for w in pair
        ):
            raise UserError(f"{path}: item {i} is not a pair (noisy, clean) of float tensors (1, samples)")
        for column, waveform in zip(columns, pair, strict=True):
            column.append(waveform.detach().float().reshape(-1))
        lengths = {len(columns[0][0]), len(columns[0][i]), len(columns[1][i])}
        if len(lengths) > 1:
            raise UserError(
                f"{path}: pair {i} has {len(columns[0][i])} noisy and {len(columns[1][i])} clean samples, but all "
                f"waveforms must have {len(columns[0][0])}, as in pair 0; cut them to one length"
            )
        if not all(bool(torch.isfinite(column[i]).all()) for column in columns):
            raise UserError(f"{path}: pair {i} holds NaN or infinite samples; leave it out")
    return torch.stack(columns[0]), torch.stack(columns[1])


def padded(waveforms: Tensor, row: int) -> Tensor:
    """Waveforms of one length laid out as a pack, each padded with zeros to a multiple of `row` samples.

    Shape: (pairs, time) -> (all,).
    """
    return torch.nn.functional.pad(waveforms, (0, -waveforms.shape[1] % row)).reshape(-1)


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
