import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from speechml.metrics.waveform import waveform_scores


def noisy_pair(level: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(3, 1, 500, generator=generator)
    return level * (clean + 0.2 * torch.randn(3, 1, 500, generator=generator)), level * clean


def test_scores_are_torchmetrics_and_means_per_sample() -> None:
    estimate, clean = noisy_pair()
    scores, waves = waveform_scores(estimate, clean), (estimate.double()[:, 0], clean.double()[:, 0])
    torch.testing.assert_close(scores["snr_db"], signal_noise_ratio(*waves), rtol=1e-6, atol=0)
    torch.testing.assert_close(scores["si_sdr_db"], scale_invariant_signal_distortion_ratio(*waves), rtol=1e-6, atol=0)
    error = (estimate - clean).double().numpy()
    np.testing.assert_allclose(scores["mse"].numpy(), (error**2).mean((1, 2)))
    np.testing.assert_allclose(scores["l1"].numpy(), np.abs(error).mean((1, 2)))


@pytest.mark.parametrize("name", ["snr_db", "si_sdr_db"])
def test_ratios_do_not_depend_on_the_level_of_a_recording(name: str) -> None:
    torch.testing.assert_close(waveform_scores(*noisy_pair(2**-30))[name], waveform_scores(*noisy_pair())[name])


def test_a_scaled_copy_has_the_snr_of_its_closed_form_and_no_distortion() -> None:
    _, clean = noisy_pair()
    assert waveform_scores(0.9 * clean, clean)["snr_db"][0].item() == pytest.approx(20.0)
    for scale in (0.5, 1, 2):
        assert waveform_scores(scale * clean, clean)["si_sdr_db"].isposinf().all()
    assert waveform_scores(clean, clean)["snr_db"].isposinf().all()


def test_silence_has_no_snr_and_no_si_sdr() -> None:
    silence, sound = torch.zeros(1, 1, 10), torch.ones(1, 1, 10)
    for estimate in (silence, sound):
        assert all(math.isnan(waveform_scores(estimate, silence)[name]) for name in ("snr_db", "si_sdr_db"))
    scores = waveform_scores(silence, sound)
    assert scores["snr_db"] == 0
    assert math.isnan(scores["si_sdr_db"])
