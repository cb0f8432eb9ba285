import math

import numpy as np
import pytest
import torch

from speechml.metrics.waveform import l1, mse, si_sdr_db, snr_db


def noisy_pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(3, 1, 500, generator=generator, dtype=torch.float64)
    return clean + 0.2 * torch.randn(3, 1, 500, generator=generator, dtype=torch.float64), clean


def ratio_db(signal: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """10 log10 of a ratio of energies, by its definition."""
    return 10 * torch.log10(signal.square().sum((1, 2)) / error.square().sum((1, 2)))


@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_snr_and_si_sdr_are_their_closed_forms(level: float) -> None:
    estimate, clean = (level * w.float().double() for w in noisy_pair())
    torch.testing.assert_close(snr_db(estimate, clean), ratio_db(clean, clean - estimate), rtol=1e-6, atol=0)
    scale = (estimate * clean).sum((1, 2), keepdim=True) / clean.square().sum((1, 2), keepdim=True)
    expected = ratio_db(scale * clean, scale * clean - estimate)
    torch.testing.assert_close(si_sdr_db(estimate, clean), expected, rtol=1e-6, atol=0)


def test_snr_of_a_known_scaling_is_its_closed_form() -> None:
    _, clean = noisy_pair()
    assert snr_db(0.9 * clean, clean)[0].item() == pytest.approx(20.0)


def test_si_sdr_does_not_depend_on_the_level() -> None:
    estimate, clean = noisy_pair()
    torch.testing.assert_close(si_sdr_db(7 * estimate, clean), si_sdr_db(estimate, clean))


def test_mse_and_l1_are_means_per_sample() -> None:
    estimate, clean = noisy_pair()
    error = (estimate - clean).numpy()
    np.testing.assert_allclose(mse(estimate, clean).numpy(), (error**2).mean((1, 2)))
    np.testing.assert_allclose(l1(estimate, clean).numpy(), np.abs(error).mean((1, 2)))


def test_silence_has_no_snr() -> None:
    silence = torch.zeros(1, 1, 10)
    assert math.isnan(snr_db(silence, silence)[0])
    for estimate, clean in ((torch.ones(1, 1, 10), silence), (silence, torch.ones(1, 1, 10)), (silence, silence)):
        assert math.isnan(si_sdr_db(estimate, clean)[0])


def test_equal_waveforms_have_an_infinite_snr() -> None:
    _, clean = noisy_pair()
    assert snr_db(clean, clean).isposinf().all()
