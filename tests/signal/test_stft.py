"""The transform is librosa's, inverts, and knows how long things are."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechml.signal.stft import STFT, num_frames, phase, valid_length

SIZES = [(1024, 512), (1024, 256), (512, 128), (400, 160), (64, 20)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("samples", [16000, 5121, 700, 1])
@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # librosa doubts that so short a recording is meant
def test_the_transform_is_librosas(n_fft: int, hop: int, samples: int) -> None:
    waveform = 0.1 * noise(2, samples)
    own = STFT(n_fft, hop)(torch.from_numpy(waveform)).numpy()
    expected = librosa.stft(waveform, n_fft=n_fft, hop_length=hop).transpose(0, 2, 1)
    assert own.shape == expected.shape == (2, num_frames(samples, hop), n_fft // 2 + 1)
    np.testing.assert_allclose(own, expected, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("samples", [16000, 5000, 333])
def test_the_inverse_gives_the_waveform_back(n_fft: int, hop: int, samples: int) -> None:
    waveform = torch.from_numpy(noise(3, samples))
    length = valid_length(samples, hop)
    padded = torch.nn.functional.pad(waveform, (0, length - samples))
    back = STFT(n_fft, hop).inverse(STFT(n_fft, hop)(padded))
    assert back.shape == (3, length)
    assert float((back[:, :samples] - waveform).abs().max()) < 1e-6 * float(waveform.abs().max()) + 1e-6


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
def test_the_inverse_of_changed_magnitudes_is_librosas(n_fft: int, hop: int) -> None:
    spectrum = STFT(n_fft, hop)(torch.from_numpy(noise(hop * 21)))
    changed = spectrum * torch.from_numpy(noise(*spectrum.shape, seed=1) ** 2)
    own = STFT(n_fft, hop).inverse(changed).numpy()
    np.testing.assert_allclose(own, librosa.istft(changed.numpy().T, hop_length=hop, n_fft=n_fft), atol=1e-5)


@settings(deadline=None)
@given(samples=st.integers(0, 5000), hop=st.integers(1, 600))
def test_frames_and_lengths_count_what_they_say(samples: int, hop: int) -> None:
    assert num_frames(samples, hop) == len(range(0, samples + 1, hop))
    length = valid_length(samples, hop)
    assert length % hop == 0
    assert samples <= length < samples + hop
    assert (num_frames(length, hop) - 1) * hop == length  # the last frame's middle is the end


def test_the_end_of_a_padded_recording_has_no_click() -> None:
    """Magnitudes that are changed by 1 % change the waveform by some per cent everywhere, the last samples too."""
    samples = 512 * 20 + 511
    waveform = torch.from_numpy(noise(samples))
    factors = 1 + 0.01 * torch.from_numpy(noise(valid_length(samples, 512) // 512 + 1, 513, seed=1))
    padded = torch.nn.functional.pad(waveform, (0, valid_length(samples, 512) - samples))
    ours = STFT().inverse(STFT()(padded) * factors)[:samples]
    changed = (STFT()(waveform) * factors[:-1]).T
    plain = torch.istft(changed, 1024, 512, window=torch.hann_window(1024), length=samples)
    assert float((ours - waveform)[-20:].abs().max()) < 0.1
    assert float((plain - waveform)[-20:].abs().max()) > 1  # what the padding is for


def test_the_phase_of_nothing_is_one() -> None:
    spectrum = torch.tensor([0j, 3 + 4j, -2 + 0j, 1e-30 + 0j, 1e30j])
    expected = torch.tensor([1 + 0j, 0.6 + 0.8j, -1 + 0j, 1 + 0j, 1j])
    torch.testing.assert_close(phase(spectrum), expected)
    assert phase(torch.zeros(2, 3, dtype=torch.complex64)).isfinite().all()


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 0), (1024, 513), (1, 1), (1023, 256)])
def test_sizes_that_do_not_fit_are_refused(n_fft: int, hop: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        STFT(n_fft, hop)
