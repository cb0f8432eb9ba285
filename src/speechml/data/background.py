"""Background noise for words: recordings, or coloured noise where there are none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from speechml.storage.pack import Pack

SPANS = {"train": (0, 8), "val": (8, 9), "test": (9, 10)}  # tenths of a background recording that a split hears


class Background(NamedTuple):
    """Recordings of noise, of which each split has a stretch of its own; a `_silence_` clip is a second of them."""

    pack: Pack
    files: Tensor  # (recordings,) which of the pack

    def rows(self, file: int, split: str) -> range:
        """The whole seconds of one recording that a split hears, as rows of the pack."""
        first, whole = int(self.pack.starts[file]) // self.pack.row, int(self.pack.lengths[file]) // self.pack.row
        begin, end = (first + whole * tenths // 10 for tenths in SPANS[split])
        return range(begin, end)

    def long_enough(self) -> Background:
        """Those recordings of which training has a second at least."""
        return self._replace(files=torch.tensor([f for f in self.files.tolist() if self.rows(f, "train")]).long())

    def stretch(self, split: str, chances: Tensor, time: int) -> Tensor:
        """Stretches at random places of random recordings, which must be `long_enough`.

        Shape: chances (batch, 2) in [0, 1) -> (batch, 1, time).
        """
        files = self.files[(chances[:, 0] * len(self.files)).long()]
        row = self.pack.row
        begin, end = (self.pack.lengths[files] // row * tenths // 10 * row for tenths in SPANS[split])
        return self.pack.stretches(files, begin + (chances[:, 1] * (end - begin - time).clamp(min=1)).long(), time)


def coloured_noise(row: int, seconds: int = 20) -> Background:
    """White, pink and brown noise (power falling with frequency^0, 1, 2), where no recordings of noise are at hand.

    Args:
        row: samples of a second.
        seconds: of each.
    """
    random = np.random.default_rng(0)
    waves = []
    for slope in (0.0, 0.5, 1.0):  # of the amplitude
        spectrum = np.fft.rfft(random.standard_normal(seconds * row))
        spectrum[1:] /= np.arange(1, len(spectrum)) ** slope
        spectrum[0] = 0
        wave = np.fft.irfft(spectrum)
        waves.append(np.round(wave / np.abs(wave).max() * 32767).astype(np.int16))
    lengths = [len(wave) for wave in waves]
    pack = Pack.of(torch.from_numpy(np.concatenate(waves)), lengths, [1 / 32768] * len(waves), row)
    return Background(pack, torch.arange(len(waves)))
