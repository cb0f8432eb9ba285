"""The optimal linear filter of a given length, in closed form: the limit that any FIR filter can reach."""

from __future__ import annotations

import torch
from torch import Tensor


class Wiener:
    """Least-squares FIR filter from noisy to clean over all records it is shown; exact, not a stationary approximation.

    Minimises the sum over records and n of (s(n) - sum_k h(k) x(n - k))^2 with x = 0 before each record, as the
    networks see it. The normal equations hold sum_n x(n - i) x(n - j), which is the autocorrelation at lag |i - j|
    less what has left the end of the record by then.

    Args:
        taps: length of the filter in samples.
    """

    def __init__(self, taps: int) -> None:
        self.taps = taps
        self.lags = torch.zeros(taps, dtype=torch.float64)  # sum_n x(n) x(n - k)
        self.cross = torch.zeros(taps, dtype=torch.float64)  # sum_n s(n) x(n - k)
        self.tails = torch.zeros(taps, taps, dtype=torch.float64)  # products of the last samples of each record

    def add(self, noisy: Tensor, clean: Tensor) -> None:
        """Take in records of one length. Shape: (batch, 1, time) twice."""
        noisy, clean = noisy[:, 0].double(), clean[:, 0].double()
        time = noisy.shape[-1]
        size = 1 << (time + self.taps - 1).bit_length()
        spectrum, target = torch.fft.rfft(noisy, size), torch.fft.rfft(clean, size)
        kept = min(self.taps, time)
        power = torch.fft.irfft((spectrum.abs() ** 2).sum(0), size)
        cross = torch.fft.irfft((target * spectrum.conj()).sum(0), size)
        self.lags[:kept] += power[:kept].cpu()
        self.cross[:kept] += cross[:kept].cpu()
        tail = torch.zeros(len(noisy), self.taps, dtype=torch.float64)
        tail[:, :kept] = noisy.flip(-1)[:, :kept].cpu()  # tail[:, i] = x(N - 1 - i)
        self.tails += tail.T @ tail

    def solve(self) -> Tensor:
        """The filter. Shape: (taps,), float64; zeros where nothing but silence was shown."""
        index = torch.arange(self.taps)
        matrix = self.lags[(index[:, None] - index[None, :]).abs()].clone()
        # R[i + 1, j + 1] = R[i, j] - x(N - 1 - i) x(N - 1 - j), summed over records.
        lost = torch.zeros_like(matrix)
        for i in range(1, self.taps):
            lost[i, 1:] = lost[i - 1, :-1] + self.tails[i - 1, :-1]
        lost = torch.tril(lost) + torch.tril(lost, -1).T
        matrix -= lost
        # Bands without any signal make the matrix singular to rounding; this ridge is far below any quantisation noise.
        ridge = 1e-12 * float(self.lags[0])
        if ridge == 0:
            return torch.zeros(self.taps, dtype=torch.float64)
        return torch.linalg.solve(matrix + ridge * torch.eye(self.taps, dtype=torch.float64), self.cross)
