import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from speechml.metrics.waveform import l1, mse, si_sdr_db, snr_db


def noisy_pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(3, 1, 500, generator=generator, dtype=torch.float64)
    return clean + 0.2 * torch.randn(3, 1, 500, generator=generator, dtype=torch.float64), clean


def test_snr_and_si_sdr_equal_torchmetrics() -> None:
    estimate, clean = noisy_pair()
    torch.testing.assert_close(snr_db(estimate, clean), signal_noise_ratio(estimate, clean)[:, 0])
    expected = scale_invariant_signal_distortion_ratio(estimate, clean)[:, 0]
    torch.testing.assert_close(si_sdr_db(estimate, clean), expected)


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
    assert math.isnan(si_sdr_db(torch.ones(1, 1, 10), silence)[0])
