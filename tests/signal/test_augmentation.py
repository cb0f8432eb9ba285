"""Variations of clips: what they do by definition, and that a clip's do not depend on its batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechml.signal.augmentation import Augmentation, at_snr, mask_stretches, move_clips, noise_chances, partner_places

ALL = Augmentation(
    shift_s=0.1, speed=0.1, gain_db=6, noise=0.5, snr_db=(0.0, 20.0), time_masks=2, frequency_masks=2, mix=0.5
)


def clips(count: int, time: int = 4000) -> torch.Tensor:
    return torch.randn(count, 1, time, generator=torch.Generator().manual_seed(count))


def varied(clips: torch.Tensor, seed: int, epoch: int, numbers: torch.Tensor) -> torch.Tensor:
    """Clips varied by ALL, with noise that depends on its chances alone."""
    chances = noise_chances(seed, epoch, numbers)
    noise = torch.sin(1000 * chances[:, :1] + 7 * torch.arange(clips.shape[-1]) * (1 + chances[:, 1:]))[:, None]
    return ALL.waveforms(clips, 16000, seed, epoch, numbers, noise)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)), st.integers(1, 7), st.integers(0, 3), st.integers(0, 3))
def test_a_clip_is_varied_alike_in_any_batch(order: list[int], size: int, seed: int, epoch: int) -> None:
    waves, spectra = clips(8), torch.randn(8, 1, 64, 50, generator=torch.Generator().manual_seed(1))
    numbers = torch.arange(100, 108)
    whole = varied(waves, seed, epoch, numbers)
    hidden = ALL.spectrograms(spectra, seed, epoch, numbers)
    partners, weights = partner_places(seed, epoch, numbers, 50), ALL.weights(seed, epoch, numbers)
    for part in torch.tensor(order).split(size):
        assert torch.equal(varied(waves[part], seed, epoch, numbers[part]), whole[part])
        assert torch.equal(ALL.spectrograms(spectra[part], seed, epoch, numbers[part]), hidden[part])
        assert torch.equal(partner_places(seed, epoch, numbers[part], 50), partners[part])
        assert torch.equal(ALL.weights(seed, epoch, numbers[part]), weights[part])


def test_seed_epoch_and_clip_each_change_the_variation() -> None:
    wave = clips(1).expand(2, -1, -1)
    first = varied(wave, 0, 0, torch.tensor([3, 4]))
    assert not torch.equal(first[0], first[1])
    for seed, epoch in ((1, 0), (0, 1)):
        assert not torch.equal(varied(wave, seed, epoch, torch.tensor([3, 4]))[0], first[0])


def test_nothing_is_varied_by_default() -> None:
    wave = clips(3)
    assert Augmentation().waveforms(wave, 16000, 0, 0, torch.arange(3), None) is wave
    spectra = torch.randn(3, 1, 8, 8)
    assert Augmentation().spectrograms(spectra, 0, 0, torch.arange(3)) is spectra


@settings(deadline=None)
@given(st.integers(-3999, 3999))
def test_a_whole_shift_moves_samples_and_fills_with_zeros(shift: int) -> None:
    wave = clips(1)
    later = move_clips(wave, torch.ones(1), torch.tensor([float(shift)]))
    expected = torch.zeros_like(wave)
    if shift >= 0:
        expected[..., shift:] = wave[..., : 4000 - shift]
    else:
        expected[..., :shift] = wave[..., -shift:]
    torch.testing.assert_close(later, expected, atol=2e-3, rtol=0)


def test_a_faster_clip_has_a_higher_tone() -> None:
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 440 * time)[None, None]
    fast = move_clips(tone, torch.tensor([1.1]), torch.zeros(1))
    spectrum = torch.fft.rfft(fast[0, 0, 1000:15000]).abs()
    assert abs(float(spectrum.argmax()) * 16000 / 14000 - 484) < 2


@settings(deadline=None)
@given(st.floats(-10, 30))
def test_noise_is_added_at_the_snr(snr_db: float) -> None:
    wave, noise = clips(2, 8000), 3 * clips(3, 8000)[:2]
    added = at_snr(wave, noise, torch.full((2,), snr_db)) - wave
    found = 10 * torch.log10(wave.square().sum(-1) / added.square().sum(-1))
    torch.testing.assert_close(found, torch.full((2, 1), snr_db), atol=0.01, rtol=0)


def test_silence_gets_no_noise_and_silent_noise_changes_nothing() -> None:
    wave, nothing = clips(1), torch.zeros(1, 1, 4000)
    assert torch.equal(at_snr(nothing, wave, torch.zeros(1)), nothing)
    assert torch.equal(at_snr(wave, nothing, torch.zeros(1)), wave)


@settings(deadline=None)
@given(st.floats(0, 0.999), st.floats(0, 0.999), st.integers(1, 30), st.sampled_from([2, 3]))
def test_a_mask_is_one_stretch_of_at_most_its_length(length: float, place: float, longest: int, axis: int) -> None:
    spectra = 1 + torch.rand(1, 2, 20, 25, generator=torch.Generator().manual_seed(0))
    out = mask_stretches(spectra, torch.tensor([[[length, place]]]), longest, axis)
    changed = (out != spectra).all(1).all(3 - axis + 1 if axis == 2 else 1)[0]
    where = torch.nonzero(changed)[:, 0]
    assert len(where) == int(length * (min(longest, spectra.shape[axis]) + 1))
    if len(where):
        assert int(where[-1] - where[0]) + 1 == len(where)
        torch.testing.assert_close(out.amin((1, 2, 3)), spectra.amin((1, 2, 3)), atol=1.0, rtol=0)


def test_weights_of_mixing_follow_the_arcsine_law() -> None:
    """Beta(1/2, 1/2) has mean 1/2 and variance 1/8; the rest is not mixed."""
    weight = ALL._replace(mix=1.0).weights(0, 0, torch.arange(200_000))
    assert abs(float(weight.mean()) - 0.5) < 0.005
    assert abs(float(weight.var()) - 0.125) < 0.005
    some = ALL._replace(mix=0.25).weights(0, 0, torch.arange(200_000))
    assert abs(float((some == 1).float().mean()) - 0.75) < 0.005


@given(st.integers(0, 200), st.integers(0, 100))
def test_what_hides_clips_rises_in_proportion_to_the_epochs_and_is_whole_behind_the_ramp(epoch: int, ramp: int) -> None:
    whole = ALL._replace(ramp_epochs=ramp)
    now = whole.at(epoch)
    share = 1.0 if epoch >= ramp else epoch / ramp
    assert (now.noise, now.mix) == pytest.approx((share * ALL.noise, share * ALL.mix))
    for name in ("time_mask", "frequency_mask"):
        assert abs(getattr(now, name) - share * getattr(ALL, name)) <= 0.5
    rising = {"noise", "mix", "time_mask", "frequency_mask", "ramp_epochs"}
    assert all(getattr(now, name) == getattr(ALL, name) for name in ALL._fields if name not in rising)


def test_the_first_epoch_of_a_ramp_hides_nothing() -> None:
    waves, spectra, numbers = clips(4), torch.randn(4, 1, 64, 50), torch.arange(4)
    none = ALL._replace(ramp_epochs=3).at(0)
    expected = ALL._replace(noise=0).waveforms(waves, 16000, 0, 0, numbers, None)
    assert torch.equal(none.waveforms(waves, 16000, 0, 0, numbers, None), expected)
    assert torch.equal(none.spectrograms(spectra, 0, 0, numbers), spectra)
    assert torch.equal(none.weights(0, 0, numbers), torch.ones(4))
