"""The embedded recordings are the same bits on every machine: whole numbers that no library's rounding can reach."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import fft

from conftest import composed
from speechml.data.spoken_words import WORDS, word
from speechml.data.synthetic import espeak, exact, recording
from speechml.data.synthetic.pairs import CLEAN_POWER, spoken_pairs
from speechml.runs.identity import digest

FILTERS = {
    "speech": (1201, 1850.0, 22050), "noise, low": (12001, 14005.0, 32000), "noise, high": (12001, 15495.0, 32000),
    "bag, low": (801, 300.0, 16000), "bag, high": (801, 7500.0, 16000),
}  # fmt: skip
RATES = [(22050, 32000, 1850.0), (22050, 16000, 7200.0), (22050, 8000, 3600.0), (22050, 44100, 9900.0)]


def checksum(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


# Made with espeak-ng of espeakng-loader 0.2.4; a change here is another corpus, and needs another SPOKEN_RECIPE.
GOLDEN = {"pairs": "e2271d2acb69cc79", "words": "009a8d70a8289da2", "recording": "a2e91a0f3bf8454f"}


def make(what: str) -> str:
    if what == "pairs":
        return checksum(*(wave for pair in islice(spoken_pairs(3), 3) for wave in pair.waveforms.values()))
    if what == "words":
        voices = espeak.one_voice_a_speaker()
        return checksum(*(word(WORDS[i], voices[7 * i], i, 16000) for i in range(4)))
    return checksum(recording.spoken(3.0, 1), recording.crackling(48000, 1))


@pytest.mark.skipif(version("espeakng-loader") != "0.2.4", reason="another espeak-ng speaks otherwise")
@pytest.mark.parametrize("what", GOLDEN)
def test_the_embedded_recordings_are_these_bits(what: str) -> None:
    assert make(what) == GOLDEN[what]


@pytest.mark.parametrize("what", GOLDEN)
def test_no_rounding_of_a_transform_reaches_them(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transform whose numbers are all off by some 1e-13, more than any library's, gives the same samples."""
    random, right = np.random.default_rng(1), make(what)

    def off(transform: Any) -> Any:
        return lambda *a, **k: (out := transform(*a, **k)) * (1 + 1e-13 * random.standard_normal(out.shape))

    monkeypatch.setattr(fft, "rfft", off(fft.rfft))
    monkeypatch.setattr(fft, "irfft", off(fft.irfft))
    assert make(what) == right


@pytest.mark.parametrize("name", FILTERS)
def test_no_tap_of_a_filter_is_close_to_being_rounded_otherwise(name: str) -> None:
    taps = exact._low_pass(*FILTERS[name])
    assert np.abs(np.abs(taps - np.floor(taps)) - 0.5).min() > 1e-9


@pytest.mark.parametrize(("rate", "new_rate", "pass_hz"), RATES)
def test_no_tap_of_a_resampler_is_close_to_being_rounded_otherwise(rate: int, new_rate: int, pass_hz: float) -> None:
    up = new_rate // math.gcd(rate, new_rate)
    reach = exact._polyphase(rate, new_rate, pass_hz)[2].shape[1]
    taps = up * exact._low_pass(reach * up + 1, min(rate, new_rate) / 2, rate * up)
    assert np.abs(np.abs(taps - np.floor(taps)) - 0.5).min() > 1e-10


@pytest.mark.parametrize(("rate", "new_rate", "pass_hz"), RATES)
@pytest.mark.parametrize("hz", [50.0, 700.0, 1800.0])
def test_a_resampled_tone_is_that_tone(rate: int, new_rate: int, pass_hz: float, hz: float) -> None:
    tone = np.rint(30000 * np.sin(2 * np.pi * hz * np.arange(rate) / rate)).astype(np.int64)
    out = exact.resample(tone, rate, new_rate, pass_hz) / exact.UNIT
    wanted = 30000 * np.sin(2 * np.pi * hz * np.arange(len(out)) / new_rate)
    assert len(out) == new_rate
    inner = slice(200, -200)
    assert np.sqrt(np.mean((out - wanted)[inner] ** 2)) < 30000 * 10 ** (-65 / 20)


def test_what_lies_beyond_the_lower_rate_is_gone_after_resampling() -> None:
    tone = np.rint(30000 * np.sin(2 * np.pi * 9500 * np.arange(22050) / 22050)).astype(np.int64)
    out = exact.resample(tone, 22050, 16000, 7200.0) / exact.UNIT
    assert np.abs(out[200:-200]).max() < 30000 * 10 ** (-70 / 20)


@pytest.mark.parametrize("shape", [(1, 300), (3, 2000), (2, 4001)])
def test_a_convolution_is_that_of_whole_numbers(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    signals, taps = random.integers(-(2**17), 2**17, shape), random.integers(-(2**15), 2**15, 201)
    wanted = [np.convolve(one.astype(object), taps.astype(object), "valid") for one in signals]
    np.testing.assert_array_equal(exact.convolve(signals, taps), np.stack(wanted).astype(np.int64))


def test_values_that_would_be_rounded_are_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        exact.convolve(np.full((1, 5000), 2**40), exact.low_pass(201, 1000.0, 16000))
    with pytest.raises(ValueError, match="too large"):
        exact.resample(np.full(5000, 2**44), 22050, 16000, 7200.0)


@pytest.mark.parametrize("millibels", [-9600, -2301, -1, 0, 1, 301, 2000, 4000])
def test_levels_are_those_of_their_definition(millibels: int) -> None:
    assert exact.amplitude(millibels) == pytest.approx(10 ** (millibels / 2000), rel=1e-14)
    assert exact.power(millibels) == pytest.approx(10 ** (millibels / 1000), rel=1e-14)


def test_draws_are_those_of_splitmix64() -> None:
    """The first three numbers for the seed 1234567, as the reference implementation of splitmix64 gives them."""
    draws = exact.Draws()
    draws.state = 1234567
    assert draws.words(3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_draws_in_pieces_are_the_draws_at_once() -> None:
    whole, pieces = exact.Draws(3, 1), exact.Draws(3, 1)
    np.testing.assert_array_equal(whole.words(10), np.concatenate([pieces.words(4), pieces.words(6)]))
    assert exact.Draws(3, 1).words(1)[0] != exact.Draws(1, 3).words(1)[0]


def test_draws_have_the_distributions_that_they_are_named_for() -> None:
    draws = exact.Draws(5)
    normal = draws.normal(200_000)
    assert normal.mean() == pytest.approx(0, abs=4 * exact.NORMAL_STD / math.sqrt(200_000))
    assert normal.std() == pytest.approx(exact.NORMAL_STD, rel=0.01)
    wholes = [draws.integer(-2, 3) for _ in range(5000)]
    assert set(wholes) == {-2, -1, 0, 1, 2}
    assert np.mean(wholes) == pytest.approx(0, abs=0.1)
    assert np.mean([exact.exponential(draws) for _ in range(5000)]) == pytest.approx(1, abs=0.06)


def test_twenty_bits_keep_a_row_as_it_is_but_for_a_power_of_two() -> None:
    values = np.array([[3, -(2**30) + 7], [5, -1]])
    kept = exact.to_20_bits(values)
    assert np.abs(kept).max() <= 2**20
    np.testing.assert_array_equal(kept[1], values[1])
    assert abs(Fraction(int(kept[0, 1]) * 2**10) - int(values[0, 1])) < 2**10


def test_the_middle_of_the_levels_gives_the_labs_mean_power() -> None:
    levels = np.array([exact.power(level) for level in range(-400, 401)])
    from speechml.data.synthetic.pairs import _MIDDLE_POWER

    assert _MIDDLE_POWER * levels.mean() == pytest.approx(CLEAN_POWER, rel=1e-3)


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (["experiment=lab2a_fir"], True),
        (["experiment=words_tuned", "data=spoken_words"], True),
        (["experiment=hw2_cnn1d"], True),
        (["experiment=hw2_cnn1d", "data.root=x"], False),
        (["experiment=hw2_cnn1d", "data.clean_file=x", "data.noisy_file=y"], False),
        (["experiment=lab2a_fir", "data=wav_pairs", "data.root=x"], False),
        (["experiment=words_tuned", "data.root=x"], False),
    ],
)
def test_runs_on_the_embedded_recordings_have_ids_of_their_own(overrides: list[str], changed: bool) -> None:
    """The first recipe gave other recordings under equal keys; what others have recorded is no matter of recipes."""
    from speechml.config.compose import plain
    from speechml.runs.identity import _recipe

    config = plain(composed("train", *overrides), resolve=True)
    assert (_recipe(config) > 1) is changed
    assert digest(config) == digest(config)


def test_the_homeworks_stand_in_has_the_courses_level_and_snr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import soundfile

    monkeypatch.setattr(recording, "SECONDS", {"train": 5.0, "test_x_01": 1.0})
    recording.make(tmp_path)
    clean, _ = soundfile.read(tmp_path / "train_clean_male.wav")
    noisy, _ = soundfile.read(tmp_path / "train_dirty_male.wav")
    assert np.sqrt(np.mean(clean**2)) == pytest.approx(0.016, rel=0.01)
    assert 10 * np.log10(np.sum(clean**2) / np.sum((noisy - clean) ** 2)) == pytest.approx(6.5, abs=0.02)
    assert np.abs(noisy).max() < 1
