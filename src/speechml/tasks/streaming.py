"""Denoisers that are fed a signal piece by piece and give, joined, what they give for the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from speechml.tasks.denoising import Reach


class Stream:
    """Takes the next piece of a signal and answers with what is ready of the denoised one.

    The samples that later output depends on are kept, and shown to the network again with the next piece.

    Args:
        denoise: (batch, 1, time) and the RMS of each, (batch, 1, 1) -> (batch, 1, time).
        channels: denoised one by one.
        reach: of the denoiser.
        level: RMS of each channel of the whole signal, (channels,); None: that of what was heard so far.
    """

    def __init__(
        self, denoise: Callable[[Tensor, Tensor], Tensor], channels: int, reach: Reach, level: Tensor | None = None
    ) -> None:
        self.denoise, self.reach, self.level = denoise, reach, level
        self.power, self.heard = np.zeros(channels), 0  # sum of squares and number of the samples so far
        self.tail = np.zeros((0, channels), np.float32)  # begins where a step does
        self.done = 0  # samples of it whose output was given

    @torch.no_grad()
    def next(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        """The denoised continuation, all of the rest when `last`. Shape: (time, channel) -> (time, channel)."""
        before, after, step = self.reach
        signal = np.concatenate([self.tail, waveform])
        self.power, self.heard = self.power + np.square(waveform, dtype=np.float64).sum(0), self.heard + len(waveform)
        ready = len(signal) if last else (len(signal) - after) // step * step
        if ready <= self.done:
            self.tail = signal
            return signal[:0]
        channels = torch.from_numpy(np.ascontiguousarray(signal[: ready + after].T))
        out: np.ndarray = (
            self.denoise(channels[:, None], self._level()[:, None, None])[:, 0].float().numpy().T[self.done : ready]
        )
        begin = max(0, ready - before) // step * step
        self.tail, self.done = signal[begin:], ready - begin
        return out

    def _level(self) -> Tensor:
        """The RMS of each channel, 1 of silence. Shape: (channels,)."""
        mean = torch.from_numpy(self.power / max(1, self.heard)).sqrt().float()
        level = mean if self.level is None else self.level
        return torch.where(level > 0, level, torch.ones_like(level))
