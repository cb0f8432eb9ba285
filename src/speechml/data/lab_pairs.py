"""The labs' own recordings: a `.pt` file with a list of (noisy, clean) tensors."""

from __future__ import annotations

import hashlib
import json
import pickle
import shlex
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from speechml.data import schema
from speechml.data.pair_fit import MEASURING, Fit, fit_notes, measure
from speechml.data.pairs import PairCorpus, PairDataModule, packed_pairs
from speechml.data.splits import random_split
from speechml.errors import UserError
from speechml.storage.audio import LOUDEST
from speechml.storage.building import build_once
from speechml.storage.files import write_json
from speechml.storage.pack import Pack, PackedCorpus, fingerprint


class LabPairs(schema.LabPairs, PairDataModule):
    """Pairs of labs 2A and 2B: `[(noisy, clean), ...]`, float tensors of (1, samples), all of one length.

    100 random pairs are test and all others train, as in the labs, so that what is validated on is trained on; with
    `val_pairs` some are kept for validation. Of files with fewer than 500 pairs a fifth is test.
    """

    def __init__(self, **keys: object) -> None:
        super().__init__(**keys)
        self.validation_is_trained_on = self.val_pairs == 0

    def read_corpus(self) -> PairCorpus:
        path = self._file()
        sides = read_pairs(path)
        count, samples = sides[0].shape
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        test, val = (min(wanted, count // 5) for wanted in (self.test_pairs, self.val_pairs or self.test_pairs))
        splits = random_split(count, self.split_seed, (val / count, test / count))
        if self.validation_is_trained_on:
            splits["train"] = sorted(splits["train"] + splits["val"])
        pack = PackedCorpus(
            names=[f"{path.stem}_{i:04d}" for i in range(count)], speakers=[""] * count,
            sums=[fingerprint(checksum, i) for i in range(count)],
            roles={role: Pack.of(F.pad(side, (0, -samples % self.row)).reshape(-1), [samples] * count, [1.0] * count, self.row)
                   for role, side in zip(("noisy", "clean"), sides, strict=True)},
            notes=["pairs divided at random as in the labs: one speaker may be in several splits"] * (self.split != "all"),
        )  # fmt: skip
        pack.notes += fit_notes(pack.names, self._fits(checksum, *sides), self.sample_rate, can_align=False)
        return packed_pairs(pack, splits, "random")

    def _fits(self, checksum: str, noisy: Tensor, clean: Tensor) -> list[Fit]:
        """How each pair fits, measured once for a file. Shape: noisy, clean (pairs, time)."""

        def build(part: Path) -> None:
            pairs = zip(noisy.numpy(), clean.numpy(), strict=True)
            rows = [
                list(measure(*pair)) for pair in tqdm(pairs, "comparing pairs", len(noisy), leave=False, disable=None)
            ]
            write_json(part / "fits.json", rows)

        def load(made: Path) -> list[Fit]:
            return [Fit(*row) for row in json.loads((made / "fits.json").read_text())]

        def is_whole(made: Path) -> bool:
            with suppress(OSError, ValueError, TypeError):
                return len(load(made)) == len(noisy)
            return False

        return load(build_once(self.cache_folder / "fits" / fingerprint(checksum, MEASURING), is_whole, build))

    def _file(self) -> Path:
        """The file itself, or the one in the folder."""
        if not self.root.exists():
            raise UserError(f"{self.root} does not exist", fix="give the labs' .pt file with data.root=FILE")
        if self.root.is_file():
            return self.root
        files = sorted(path for path in self.root.glob("*.pt") if path.name[0] != ".")
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise UserError(f"{self.root} holds {len(files)} .pt files", names, "name one with data.root=FILE")
        return files[0]


def read_pairs(path: Path) -> tuple[Tensor, Tensor]:
    """Noisy and clean waveforms of a lab file, read without running anything that it may contain.

    Shape: (pairs, time) twice, float32.

    Raises:
        UserError: no list of pairs, code instead of tensors, unequal lengths, NaN or Inf; the message names the pair.
    """
    try:
        pairs = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = f"{path} is refused: it holds more than tensors, or is no torch file"
        raise UserError(what, fix="nothing in it was run") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise UserError(f"{path} cannot be read as a torch file", fix="copy it again (it may be cut short)") from error
    if not isinstance(pairs, (list, tuple)) or not pairs:
        what = f"{path} holds {type(pairs).__name__}, not the labs' list of (noisy, clean) pairs"
        raise UserError(what, fix=conversion(path, pairs))
    rows: list[Tensor] = []
    for number, pair in enumerate(pairs):
        waves = [wave for wave in pair if _is_waveform(wave)] if isinstance(pair, (list, tuple)) else []
        if len(waves) != 2 or len(pair) != 2:
            what = f"{path}: item {number} is not a pair (noisy, clean) of float tensors (1, samples)"
            raise UserError(what, fix=conversion(path, pairs))
        noisy, clean = (wave.detach().float().reshape(-1) for wave in waves)
        samples = rows[0].shape[1] if rows else len(noisy)
        if not len(noisy) == len(clean) == samples:
            what = f"{path}: pair {number} has {len(noisy)} noisy and {len(clean)} clean samples"
            raise UserError(what, fix=f"cut all waveforms to one length, as the {samples} of the first")
        rows.append(torch.stack([noisy, clean]))
        if not bool((rows[-1].abs() <= LOUDEST).all()):
            raise UserError(
                f"{path}: pair {number} holds NaN, infinite samples, or some over {LOUDEST:g}", fix="leave it out"
            )
    noisy, clean = torch.stack(rows, 1)
    return noisy, clean


def conversion(path: Path, content: object) -> str:
    """The line that makes the labs' list of other usual forms of it, or nothing where what it holds is none of them."""
    first = content[0] if isinstance(content, (list, tuple)) and content else None
    each = "[{} for x in d]"
    if isinstance(content, dict) and {"noisy", "clean"} <= content.keys():
        made = 'list(zip(d["noisy"], d["clean"]))'
    elif isinstance(first, dict) and {"noisy", "clean"} <= first.keys():
        made = each.format('(x["noisy"], x["clean"])')
    elif isinstance(content, (list, tuple)) and len(content) == 2 and isinstance(first, Tensor) and first.dim() > 1:
        made = "list(zip(*d))"
    elif (isinstance(content, Tensor) and content.dim() > 2 and content.shape[1] == 2) or (
        isinstance(first, Tensor) and first.dim() > 1 and len(first) == 2
    ):
        made = each.format("(x[0], x[1])")
    elif isinstance(first, (list, tuple)) and len(first) == 2 and all(_is_pcm(wave) for wave in first):
        made = each.format("(x[0].float() / 32768, x[1].float() / 32768)")
    else:
        return ""
    code = f'import torch; d = torch.load({json.dumps(str(path))}); torch.save({made}, "pairs.pt")'
    return f"convert it: python -c {shlex.quote(code)}"


def _is_pcm(wave: object) -> bool:
    return isinstance(wave, Tensor) and wave.dtype == torch.int16


def _is_waveform(wave: object) -> bool:
    return isinstance(wave, Tensor) and wave.is_floating_point() and wave.numel() > 0 and wave.shape[-1] == wave.numel()
