"""Denoisers that are fed a signal piece by piece and give, joined, what they give for the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.signal.stft import overlap_add, valid_length

if TYPE_CHECKING:
    from speechml.tasks.stft_denoising import MagnitudeDenoiser

Denoise = Callable[[Tensor], Tensor]  # (batch, 1, time) -> the same


class Stream(Protocol):
    """Takes the next piece of a signal and answers with what is ready of the denoised one."""

    def next(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        """The denoised continuation, all of the rest when `last`. Shape: (time, channel) -> (time, channel)."""


class SampleStream:
    """A network on samples: it is shown the samples before the next one again, and answers as records become full.

    Args:
        denoise: (batch, 1, time) -> (batch, 1, time).
        channels: denoised one by one.
        before: samples of input that output depends on, beside its own.
        record: samples that the network takes at a time; 1 where it takes any number.
    """

    def __init__(self, denoise: Denoise, channels: int, before: int = 0, record: int = 1) -> None:
        self.denoise, self.before, self.record = denoise, before, record
        self.known = np.zeros((0, channels), np.float32)  # behind which output goes on
        self.waiting = np.zeros((0, channels), np.float32)

    @torch.no_grad()
    def next(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        new = np.concatenate([self.waiting, waveform])
        count = len(new) if last else len(new) // self.record * self.record
        self.waiting = new[count:]
        if count == 0:
            return new[:0]
        seen = np.concatenate([self.known, new[:count]])
        self.known = seen[max(0, len(seen) - self.before) :]
        out: np.ndarray = self.denoise(torch.from_numpy(np.ascontiguousarray(seen.T))[:, None])[:, 0].float().numpy().T
        return out[len(out) - count :]


class FrameStream:
    """A network on STFT frames: each frame is computed once, when its samples are complete, behind the frames before it.

    Between pieces it keeps the samples that later frames need, the spectra before them, and the part of the
    overlap-add that is not complete. It runs half a frame behind.

    Args:
        task: the denoiser.
        channels: denoised one by one.
    """

    def __init__(self, task: MagnitudeDenoiser, channels: int) -> None:
        self.task, self.stft = task, task.stft
        self.kept = torch.zeros(channels, self.stft.n_fft // 2)  # the zeros that centred frames see before the begin
        self.spectra: Tensor = task.opening(channels)  # (channel, up to context, bins): the frames before the next one
        self.sums = torch.zeros(channels, 0)  # overlap-add that further frames will add to
        self.weights = torch.zeros(0)
        self.skip = self.stft.n_fft // 2
        self.seen = self.given = 0

    @torch.no_grad()
    def next(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        self.seen += len(waveform)
        seen = torch.cat([self.kept, torch.from_numpy(np.ascontiguousarray(waveform.T))], 1)
        n_fft, hop = self.stft.n_fft, self.stft.hop
        if last:  # to the length at which the last sample lies under the middle of a frame, and half a frame of zeros
            seen = F.pad(seen, (0, valid_length(self.seen, hop) - self.seen + n_fft // 2))
        count = max(0, (seen.shape[1] - n_fft) // hop + 1)
        self.kept = seen[:, count * hop :]
        if count:
            self._add(self.stft.transform(seen))
        ready = self.sums.shape[1] if last else max(0, self.sums.shape[1] - (n_fft - hop))
        sums, self.sums = self.sums[:, :ready], self.sums[:, ready:]
        weights, self.weights = self.weights[:ready], self.weights[ready:]
        out = sums / torch.where(weights > torch.finfo(weights.dtype).tiny, weights, 1.0)
        skipped = min(self.skip, out.shape[1])
        self.skip -= skipped
        out = out[:, skipped:][:, : self.seen - self.given]
        self.given += out.shape[1]
        result: np.ndarray = out.numpy().T
        return result

    def _add(self, spectrum: Tensor) -> None:
        """Denoise the new frames and add them up behind what waits."""
        count = spectrum.shape[1]
        together = torch.cat([self.spectra, spectrum], 1)
        frames = self.task.istft.frames(self.task.cleaned(together)[:, -count:])
        self.spectra = together[:, max(0, together.shape[1] - self.task.context) :]
        sums, weights = overlap_add(frames, self.stft.hop), self.task.istft.weight(count)
        waiting = self.sums.shape[1]
        self.sums = sums + F.pad(self.sums, (0, sums.shape[1] - waiting))
        self.weights = weights + F.pad(self.weights, (0, weights.shape[0] - waiting))
