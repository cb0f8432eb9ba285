"""Features of music against scipy and pyloudnorm, one block at a time, against the standard's sine, and at the edges."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED, needs_shared, tone
from speechml.music.features import COLUMNS, SILENCE, music_features

RATES = (44100, 48000, 22050, 11025, 8000, 44103, 9999)  # odd ones have half a sample too many in half a second


def column(name: str, blocks: torch.Tensor, rate: int = 16000) -> torch.Tensor:
    """One feature of blocks (block, time). Shape: (block,)."""
    return music_features(blocks, rate)[:, COLUMNS.index(name)]


def random_blocks(rate: int, count: int = 20) -> np.ndarray:
    """Half seconds (block, time) of white and of brown noise that begin and end at any level from -90 dB to 6 dB."""
    random = np.random.default_rng(rate)
    noise = random.standard_normal((count, int(0.5 * rate)))
    noise[::2] = scipy.signal.lfilter([0.05], [1, -0.99], noise[::2])
    db = np.stack([np.linspace(*random.uniform(-90, 6, 2), noise.shape[1]) for _ in range(count)])
    return noise * 10 ** (db / 20)


def reference(block: np.ndarray, rate: int) -> list[float]:
    """The exercise's features of one block, in the order of COLUMNS."""
    peak = np.abs(scipy.signal.resample(block, 4 * len(block))).max()
    square = np.mean(block**2)
    rms = np.sqrt(square)
    loudness = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(block)
    energy, split = np.abs(np.fft.fft(block)) ** 2, int(1000 / (rate / len(block))) + 1
    return [
        peak, peak**2, 20 * np.log10(peak), square, rms, 20 * np.log10(rms), 10 ** (loudness / 20),
        10 ** (loudness / 10), max(loudness, -70), peak / rms, 20 * np.log10(peak / rms),
        energy[1:split].sum() / energy[split : len(block) // 2].sum(),
    ]  # fmt: skip


@pytest.mark.parametrize("rate", RATES)
def test_all_features_equal_the_exercises_own_one_block_at_a_time(rate: int) -> None:
    blocks = random_blocks(rate)
    expected = np.array([reference(block, rate) for block in blocks])
    found = music_features(torch.from_numpy(blocks), rate).numpy()
    for i, name in enumerate(COLUMNS):
        np.testing.assert_allclose(
            found[:, i], expected[:, i], rtol=1e-6, atol=1e-5 * name.endswith("db"), err_msg=name
        )


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize(("level_db", "lufs"), [(0.0, -3.01), (-66.0, -69.01), (-68.0, -np.inf)])
def test_loudness_of_a_sine_of_997_hz_is_3_below_its_peak(rate: int, level_db: float, lufs: float) -> None:
    """ITU-R BS.1770-4, Annex 1: a full scale sine reads -3.01 LKFS; what is below -70 is gated."""
    block = torch.from_numpy(tone(3.0, rate, 997.0, 10 ** (level_db / 20)))[None]
    assert column("lufs_db", block, rate).item() == pytest.approx(max(lufs, -70), abs=0.01)
    assert column("lufs_lin", block, rate).item() == pytest.approx(10 ** (lufs / 20), rel=1e-3)


def test_true_peak_of_a_sine_between_its_samples_is_its_amplitude() -> None:
    """A sine at a quarter of the rate that is sampled at 45 degrees never shows more than 0.71 of its peak."""
    block = torch.sin(torch.pi / 2 * torch.arange(8000, dtype=torch.float64) + torch.pi / 4)[None]
    assert block.max().item() == pytest.approx(2**-0.5)
    assert column("true_peak_lin", block).item() == pytest.approx(1.0, rel=1e-6)


def test_low_high_ratio_is_that_of_the_powers_of_two_sines() -> None:
    block = tone(0.5, hz=500, level=0.3) + tone(0.5, hz=2000, level=0.1).astype(np.float64)
    assert column("low_high_ratio", torch.from_numpy(block + 0.5)[None]).item() == pytest.approx(9.0, rel=1e-5)
    border = torch.from_numpy(tone(0.5, hz=1000) + 1e-3 * tone(0.5, hz=1002).astype(np.float64))[None]
    assert column("low_high_ratio", border).item() == pytest.approx(1e6, rel=1e-5)  # 1 kHz itself counts as low
    nyquist = border + 0.3 * torch.cos(torch.pi * torch.arange(8000))  # counts nowhere
    assert column("low_high_ratio", nyquist).item() == pytest.approx(1e6, rel=1e-5)


def test_silence_begins_at_minus_80_db() -> None:
    levels = torch.tensor([0.0, 0.99e-4, 1.01e-4, 1.0], dtype=torch.float64)
    blocks = levels[:, None].expand(-1, 8000)
    square = column("rms_lin2", blocks)
    assert (square <= SILENCE).tolist() == [True, True, False, False]
    torch.testing.assert_close(square, levels.square())


def test_no_blocks_have_no_rows() -> None:
    assert music_features(torch.zeros(0, 8000), 16000).shape == (0, 12)


def edges(rate: int = 44100) -> dict[str, torch.Tensor]:
    """Blocks (time,) of a kind that has no loudness, no crest, no treble, or more than full scale."""
    samples = rate // 2
    t = torch.arange(samples, dtype=torch.float64)
    one = torch.zeros(samples, dtype=torch.float64)
    one[samples // 2] = 1.0
    square = torch.where(torch.sin(2 * torch.pi * 110 * t / rate) >= 0, 1.0, -1.0)
    return {
        "silence": 0 * t, "dc": 0 * t + 0.5, "impulse": one, "first sample": one.roll(-samples // 2), "square": square,
        "beyond": 30 * square, "nyquist": 1 - 2 * (t % 2), "faint": 1e-30 * one, "bass": torch.sin(2 * torch.pi * 50 * t / rate),
    }  # fmt: skip


@pytest.mark.parametrize("name", edges())
def test_features_of_edge_cases_are_finite(name: str) -> None:
    row = dict(zip(COLUMNS, music_features(edges()[name][None], 44100)[0].tolist(), strict=True))
    assert np.isfinite(list(row.values())).all()
    assert row["lufs_db"] >= -70
    assert row["crest_lin"] >= 1 - 1e-12
    assert 1e-12 <= row["low_high_ratio"] <= 1e12
    if name in ("silence", "dc"):
        assert row["low_high_ratio"] == 1
    if name == "silence":
        assert row == {
            **dict.fromkeys(COLUMNS, 0.0), "true_peak_db": -200.0, "rms_db": -200.0, "lufs_db": -70.0, "crest_lin": 1.0,
            "low_high_ratio": 1.0,
        }  # fmt: skip
    if name == "impulse":
        assert row["crest_lin"] == pytest.approx(22050**0.5)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.floats(-160, 40), st.floats(-1, 1), st.sampled_from([1, 2, 100]),
    st.sampled_from(["float32", "float64"]),
)  # fmt: skip
def test_features_of_any_block_are_finite(seed: int, db: float, offset: float, every: int, dtype: str) -> None:
    block = np.zeros(4000)
    block[::every] = np.random.default_rng(seed).standard_normal(len(block[::every])) * 10 ** (db / 20)
    assert music_features(torch.from_numpy((block + offset).astype(dtype))[None], 8000).isfinite().all()


@needs_shared
def test_the_published_features_have_the_relations_of_ours() -> None:
    with np.load(SHARED / "ddasp-genre-features" / "_raw_data_small.npz", allow_pickle=False) as file:
        published = file["Xdata"]
    blocks = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 22050))
    for table in (published, music_features(torch.from_numpy(blocks), 44100).numpy()):
        row = dict(zip(COLUMNS, table[table[:, 8] > -70].T, strict=True))
        np.testing.assert_allclose(row["crest_lin"], row["true_peak_lin"] / row["rms_lin"])
        np.testing.assert_allclose(row["lufs_lin2"], 10 ** (row["lufs_db"] / 10))
        np.testing.assert_allclose(row["lufs_lin"], 10 ** (row["lufs_db"] / 20))
        np.testing.assert_allclose(row["rms_db"], 20 * np.log10(row["rms_lin"]))
        np.testing.assert_allclose(row["true_peak_lin2"], row["true_peak_lin"] ** 2)
