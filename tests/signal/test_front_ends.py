"""Front ends equal torchaudio's transforms, with the book's parameters and others."""

import numpy as np
import pytest
import torch
import torchaudio

from speechml.signal.front_ends import FrontEnd

WINDOW = {"n_fft": 512, "win_length": 480, "hop_length": 160}


@pytest.fixture
def waveform() -> torch.Tensor:
    return torch.randn(3, 1, 16000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("normalized", [True, False])
def test_the_power_spectrogram_is_torchaudios(normalized: bool, waveform: torch.Tensor) -> None:
    own = FrontEnd("power", normalized=normalized)(waveform)
    theirs = torchaudio.transforms.Spectrogram(power=2, normalized=normalized, **WINDOW)(waveform)
    assert own.shape == (3, 1, 257, 101)
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5 * float(theirs.max()))


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
@pytest.mark.parametrize("mels", [128, 64, 40])
def test_mel_bands_are_torchaudios(mels: int, waveform: torch.Tensor) -> None:
    own = FrontEnd("mel", mels=mels, normalized=True)(waveform)
    theirs = torchaudio.transforms.MelSpectrogram(16000, n_mels=mels, normalized=True, **WINDOW)(waveform)
    assert own.shape == (3, 1, mels, 101)
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5 * float(theirs.max()))
    torch.testing.assert_close(FrontEnd("log_mel", mels=mels)(waveform), torch.log(own + 1e-10))
    torch.testing.assert_close(FrontEnd("log_mel", mels=mels, floor=1e-5)(waveform), torch.log(own + 1e-5))


def test_the_complex_spectrogram_is_torchaudios_in_two_channels(waveform: torch.Tensor) -> None:
    own = FrontEnd("complex")(waveform)
    theirs = torchaudio.transforms.Spectrogram(power=None, normalized=True, **WINDOW)(waveform[:, 0])
    assert own.shape == (3, 2, 257, 101)
    torch.testing.assert_close(own, torch.stack([theirs.real, theirs.imag], 1), rtol=1e-4, atol=1e-5)


def test_a_sine_lies_in_its_bin_with_the_energy_of_the_window() -> None:
    """By the closed form: in the middle of bin k, |X|^2 / sum w^2 = (sum w)^2 / (4 sum w^2) of a sine of amplitude 1."""
    k = 32
    wave = torch.sin(2 * torch.pi * k / 512 * torch.arange(16000))[None, None]
    power = FrontEnd("power")(wave)[0, 0, :, 50]
    window = np.sin(np.pi * np.arange(480) / 480) ** 2
    assert int(power.argmax()) == k
    np.testing.assert_allclose(float(power[k]), window.sum() ** 2 / 4 / (window**2).sum(), rtol=1e-3)


def test_silence_has_a_finite_logarithm() -> None:
    for floor in (1e-10, 1e-5):
        out = FrontEnd("log_mel", floor=floor)(torch.zeros(1, 1, 16000))
        torch.testing.assert_close(out, torch.full_like(out, np.log(floor)))


@pytest.mark.parametrize(
    ("keys", "says"),
    [({"kind": "mfcc"}, "it can be power"), ({"n_fft": 256}, "does not fit"), ({"hop_s": 0}, "does not fit")],
)
def test_what_cannot_be_is_refused(keys: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FrontEnd(**keys)
