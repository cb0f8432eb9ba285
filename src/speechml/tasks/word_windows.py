"""Recordings of any length, as windows that a classifier of clips takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
import torch

from speechml.contracts import Stretch
from speechml.data.clips import CLIP_S
from speechml.storage import audio

HOP_S = 0.25  # s; a window is as long as the clips that a network learned from
READ_S = 30.0  # s of a recording that are read at a time


def read_windows(file: Path, rate: int) -> Iterator[Stretch]:
    """Windows of CLIP_S every HOP_S until all of a recording is in one; a short recording is one window. Inputs: (1, 1, time).

    Args:
        file: the recording.
        rate: Hz that the samples are brought to; channels are mixed down.

    Raises:
        UserError: no audio, or a damaged file.
    """
    header = audio.info(file)
    size, hop = round(CLIP_S * rate), round(HOP_S * rate)
    stream = soxr.ResampleStream(header.rate, rate, 1) if header.rate != rate else None
    held, first, is_last = np.zeros(0, np.float32), 0, False
    for block, ends in audio.read_blocks(file, header.block(READ_S)):
        mono = block.mean(1)
        held = np.concatenate([held, mono if stream is None else stream.resample_chunk(mono, ends)])
        while not is_last and (len(held) > size or ends):
            is_last = len(held) <= size
            window = torch.from_numpy(np.pad(held[:size], (0, max(0, size - len(held)))))
            yield Stretch(first / rate, (first + min(size, len(held))) / rate, window[None, None])
            held, first = held[hop:], first + hop
