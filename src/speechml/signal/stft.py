"""Short-time Fourier transform and its inverse, as librosa defines them, and the arithmetic of frames and samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def num_frames(samples: int, hop: int) -> int:
    """Frames of a centred transform: one at sample 0 and one at every further multiple of `hop`."""
    return 1 + samples // hop


def valid_length(samples: int, hop: int) -> int:
    """The next multiple of `hop`, in samples: at this length the last sample lies under the middle of a frame.

    Between the middle of the last frame and the end of a recording there is no second frame, so that the inverse divides
    by the edge of one window, 1e-5 at worst: a changed magnitude becomes a click there. Padded to this length and cut
    back, a recording has no such end.
    """
    return -(-samples // hop) * hop


def phase(spectrum: Tensor) -> Tensor:
    """`X/|X|`, and 1 where X is 0. Any shape, complex."""
    return torch.sgn(spectrum) + (spectrum == 0)


class STFT(nn.Module):
    """The transform of librosa.stft with its defaults: Hann window, frames centred, zeros beyond the ends.

    Args:
        n_fft: length of a frame in samples.
        hop: samples between the middles of two frames.

    Shape: ([batch,] time) -> ([batch,] frames, bins), complex; frames = `num_frames(time, hop)`, bins = n_fft // 2 + 1.
    """

    def __init__(self, n_fft: int = 1024, hop: int = 512) -> None:
        super().__init__()
        if n_fft < 2 or n_fft % 2 or not 1 <= hop <= n_fft // 2:
            raise ValueError(f"n_fft {n_fft} and hop {hop} do not fit: n_fft must be even, hop from 1 to half of it")
        self.n_fft, self.hop, self.bins = n_fft, hop, n_fft // 2 + 1
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float64).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        half = self.n_fft // 2
        return self.transform(F.pad(waveform, (half, half)))

    def transform(self, waveform: Tensor) -> Tensor:
        """Without centring: the first frame begins at the first sample. Shape: ([batch,] time) -> ([batch,] frames, bins)."""
        spectrum = torch.stft(
            waveform.float(), self.n_fft, self.hop, window=self.window, center=False, return_complex=True
        )
        return spectrum.transpose(-1, -2)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """The inverse, that of librosa.istft. Shape: ([batch,] frames, bins), complex -> ([batch,] (frames - 1) * hop)."""
        return torch.istft(spectrum.transpose(-1, -2), self.n_fft, self.hop, window=self.window)

    def rms(self, magnitudes: Tensor) -> float:
        """The RMS of the waveforms that frames are of, by Parseval's theorem. Shape: (..., bins)."""
        power = magnitudes.double().square().flatten(0, -2).mean(0)
        two_sided = 2 * power.sum() - power[0] - power[-1]  # of the bins, the first and the last have no mirror image
        return float((two_sided / self.n_fft / self.window.double().square().sum().to(power)).sqrt())
