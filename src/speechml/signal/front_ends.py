"""What a word network sees: spectrograms of 30 ms windows every 10 ms, as torchaudio's transforms define them, or waveforms.

On a CPU these take 0.4 to 0.7 of the time of torchaudio's: the scale lies in the window, and the bands multiply frames as
they lie in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.signal.stft import num_frames

KINDS = ("power", "mel", "log_mel", "complex", "waveform")


class FrontEnd(nn.Module):
    """Spectrogram of a waveform; the defaults are those of the R torch book, chapter 22.

    Args:
        kind: `power` (|X|^2), `mel` (bands of it), `log_mel` (their logarithms), `complex` (real and imaginary part);
            `waveform` gives the waveform itself.
        sample_rate: Hz.
        n_fft: samples of a transform; the window is padded with zeros to it.
        window_s, hop_s: length of the Hann window and distance of two windows in seconds.
        mels: bands of `mel` and `log_mel`.
        normalized: divide X by the square root of the window's energy.
        floor: power that `log_mel` adds to every band. By default that of 16 bits' rounding, about -98 dB of a full-scale
            sine: digital silence then lies far below all that is ever recorded, and networks learn the one from the other.

    Shape: (batch, 1, time) -> `shape(time)` behind the batch.
    """

    def __init__(
        self, kind: str = "power", sample_rate: int = 16000, n_fft: int = 512, window_s: float = 0.03, hop_s: float = 0.01,
        mels: int = 128, normalized: bool = True, floor: float = 1e-10,
    ) -> None:  # fmt: skip
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; it can be {', '.join(KINDS)}")
        length, self.hop = round(window_s * sample_rate), round(hop_s * sample_rate)
        if not 0 < length <= n_fft or self.hop < 1 or n_fft % 2:
            raise ValueError(
                f"a window of {length} samples every {self.hop} does not fit n_fft {n_fft}, which must be even"
            )
        self.kind, self.n_fft, self.floor = kind, n_fft, floor
        window = torch.hann_window(length, dtype=torch.float64)
        if normalized:
            window = window / window.square().sum().sqrt()
        left = (n_fft - length) // 2
        self.window: Tensor
        self.register_buffer("window", F.pad(window, (left, n_fft - length - left)).float(), persistent=False)
        self.bands: Tensor
        bands = mel_bands(n_fft // 2 + 1, mels, sample_rate) if "mel" in kind else torch.empty(n_fft // 2 + 1, 0)
        self.register_buffer("bands", bands, persistent=False)

    @property
    def channels(self) -> int:
        """Channels of a spectrogram."""
        return 2 if self.kind == "complex" else 1

    @property
    def has_bands(self) -> bool:
        """Whether rows of a spectrogram are mel bands."""
        return "mel" in self.kind

    @property
    def bins(self) -> int:
        """Rows of a spectrogram: Fourier coefficients or mel bands."""
        return self.bands.shape[1] if self.has_bands else self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Columns of the spectrogram of so many samples."""
        return num_frames(samples, self.hop)

    def shape(self, samples: int) -> tuple[int, ...]:
        """What so many samples become: (channels, bins, frames), or (1, samples)."""
        return (1, samples) if self.kind == "waveform" else (self.channels, self.bins, self.frames(samples))

    def forward(self, waveform: Tensor) -> Tensor:
        if self.kind == "waveform":
            return waveform.float()
        if self.kind == "complex":
            return torch.view_as_real(self._transform(waveform)).permute(0, 3, 1, 2)
        power = self.power(waveform)
        if self.kind == "power":
            return power[:, None]
        mel = (power.transpose(1, 2) @ self.bands).transpose(1, 2)[:, None]
        return mel if self.kind == "mel" else torch.log(mel + self.floor)

    def power(self, waveform: Tensor) -> Tensor:
        """The power spectrogram, whatever the kind. Shape: (batch, 1, time) -> (batch, coefficient, frame)."""
        spectrum = self._transform(waveform)
        return spectrum.real.square() + spectrum.imag.square()

    def _transform(self, waveform: Tensor) -> Tensor:
        return torch.stft(waveform[:, 0].float(), self.n_fft, self.hop, window=self.window, return_complex=True)


def mel_bands(bins: int, mels: int, sample_rate: int) -> Tensor:
    """Triangular filters, equally spaced on the mel scale of HTK, 2595 log10(1 + f / 700). Shape: (bins, mels).

    As torchaudio.functional.melscale_fbanks by its defaults; narrow bands at low frequencies may hold no bin at all.
    """
    import warnings

    from torchaudio.functional import melscale_fbanks

    with warnings.catch_warnings(), torch.device("cpu"):  # torchaudio looks into what it makes
        warnings.simplefilter("ignore")  # that some bands are empty, which 128 bands of 257 bins bring with them
        bands: Tensor = melscale_fbanks(bins, 0.0, sample_rate / 2, mels, sample_rate)
    return bands
