"""PESQ and STOI are their packages', and NaN where they say nothing."""

import numpy as np
import pytest
import torch

from conftest import SHARED, needs_shared
from speechml.metrics.perceptual import available, perceptual_scores
from speechml.storage import audio

needs_metrics = pytest.mark.skipif(len(available()) < 2, reason="the extra [metrics] is not installed")


def voice_bank(name: str) -> tuple[torch.Tensor, torch.Tensor, str]:
    found = []
    for side in ("noisy", "clean"):
        path = sorted((SHARED / "voicebank-demand-excerpt" / side).glob("*.wav"))[0 if name == "first" else 1]
        waveform = audio.load(path, 16000)
        found.append(
            torch.from_numpy((waveform / 32768).astype(np.float32) if waveform.dtype == np.int16 else waveform)
        )
    return found[0][None, None], found[1][None, None], path.name


@needs_shared
@needs_metrics
def test_scores_of_a_recording_are_the_packages_own() -> None:
    from pesq import pesq
    from pystoi import stoi

    noisy, clean, _ = voice_bank("first")
    found = perceptual_scores(noisy, clean, 16000)
    assert float(found["pesq"]) == pytest.approx(pesq(16000, clean[0, 0].numpy(), noisy[0, 0].numpy(), "wb"))
    assert float(found["stoi"]) == pytest.approx(stoi(clean[0, 0].numpy(), noisy[0, 0].numpy(), 16000))
    same = perceptual_scores(clean, clean, 16000)
    assert float(same["pesq"]) > 4.5
    assert float(same["stoi"]) == pytest.approx(1.0)


@needs_shared
@needs_metrics
def test_long_recordings_are_scored_in_pieces() -> None:
    noisy, clean, _ = voice_bank("first")
    times = int(30 * 16000 / clean.shape[-1]) + 1
    found = perceptual_scores(noisy.repeat(1, 1, times), clean.repeat(1, 1, times), 16000)
    once = perceptual_scores(noisy, clean, 16000)
    assert float(found["pesq"]) == pytest.approx(float(once["pesq"]), abs=0.4)


@needs_metrics
@pytest.mark.parametrize("samples", [1, 100, 7999, 32000])
@pytest.mark.parametrize("rate", [8000, 16000, 32000])
def test_silence_and_shreds_have_no_score_and_raise_nothing(samples: int, rate: int) -> None:
    generator = torch.Generator().manual_seed(0)
    silence, noise = torch.zeros(1, 1, samples), torch.randn(1, 1, samples, generator=generator)
    for estimate, clean in ((silence, silence), (noise, silence), (silence, noise), (noise * float("nan"), noise)):
        for value in perceptual_scores(estimate, clean, rate).values():
            assert value.shape == (1,)
            assert not value.isinf().any()
    assert all(v.isnan().all() for v in perceptual_scores(noise, silence, rate).values())
