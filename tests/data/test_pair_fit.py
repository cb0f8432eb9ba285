"""Pairs that do not fit are found by what the noisy waveform was made of; pairs that do raise no alarm, however noisy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfilt

from conftest import SHARED, needs_shared
from speechml.data import WavPairs
from speechml.data.pair_fit import Fit, fit_notes, level_db, measure

RATE = 16000
Wave = np.ndarray


def voice(number: int, samples: int = 24000, kind: str = "speech") -> Wave:
    """Something like speech (time,): harmonics of a gliding pitch in syllables; or harmonics of a steady one."""
    random = np.random.default_rng([1, number])
    t = np.arange(samples) / RATE
    if kind == "tones":
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)
        return 0.2 * swell * sum(np.sin(2 * np.pi * (120 + 20 * number) * k * t + k) / k for k in range(1, 8))
    pitch = 110 + 60 * random.random() + 30 * np.sin(2 * np.pi * (0.7 + random.random()) * t + 6 * random.random())
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    loud = np.interp(t, np.arange(0, t[-1] + 0.2, 0.1), random.random(len(np.arange(0, t[-1] + 0.2, 0.1))) ** 2)
    formants = random.random(20) / np.arange(1, 21)
    return 0.3 * loud * sum(a * np.sin(k * phase + 6 * random.random()) for k, a in enumerate(formants, 1))


def noise(number: int, samples: int, kind: str) -> Wave:
    """White, brown or humming noise of power 1 (time,), or the band of lab 2A's."""
    white = np.random.default_rng([2, number]).standard_normal(samples)
    if kind == "hum":
        white = sum(np.sin(2 * np.pi * 100 * k * np.arange(samples) / RATE + k * number) for k in range(1, 6))
    elif kind != "white":
        spectrum, hz = np.fft.rfft(white), np.fft.rfftfreq(samples, 1 / RATE)
        spectrum *= np.where(hz > 0, 1 / np.maximum(hz, 20), 0) if kind == "brown" else (hz > 7000) + 1e-3
        white = np.fft.irfft(spectrum, samples)
    return white / white.std()


def noisy(clean: Wave, snr_db: float, kind: str = "white", number: int = 0) -> Wave:
    return clean + noise(number, len(clean), kind) * clean.std() * 10 ** (-snr_db / 20)


def late(wave: Wave, delay: int) -> Wave:
    """A waveform `delay` samples later, or earlier where it is negative; zeros beside it."""
    shifted = np.zeros_like(wave)
    shifted[max(delay, 0) : len(wave) + min(delay, 0)] = wave[max(-delay, 0) : len(wave) - max(delay, 0)]
    return shifted


@pytest.mark.parametrize("kind", ["speech", "tones"])
@pytest.mark.parametrize("delay", [1, 2, 17, 40, 300, 1105, 5000, -1, -40, -1105])
def test_a_delay_is_measured_to_the_sample(delay: int, kind: str) -> None:
    clean = voice(0, kind=kind)
    assert measure(late(noisy(clean, 15), delay), clean) == Fit(delay)


@pytest.mark.parametrize("snr_db", [-18, -10, 0, 20])
@pytest.mark.parametrize("delay", [0, 7, 300, -900])
def test_delay_and_polarity_are_found_under_the_noise_of_the_labs(delay: int, snr_db: float) -> None:
    clean = voice(1)
    assert measure(-late(noisy(clean, snr_db, "band"), delay), clean) == Fit(delay, -1.0)


@pytest.mark.parametrize("db", [-40, -12, -6, -2, 2, 6, 20])
def test_another_level_is_measured_to_half_a_db(db: float) -> None:
    clean = voice(2)
    fit = measure(10 ** (db / 20) * noisy(clean, 10), clean)
    assert (fit.delay, fit.flaw, level_db(fit.gain)) == (0, "", pytest.approx(db, abs=0.5))


@pytest.mark.parametrize("kind", ["speech", "tones"])
@pytest.mark.parametrize("other", [1, 2, 3, 5])
def test_a_wrong_partner_is_no_delay_and_no_level(other: int, kind: str) -> None:
    assert measure(noisy(voice(other, kind=kind), 10), voice(0, kind=kind)).flaw == "partner"


@pytest.mark.parametrize("snr_db", [-23, -18, -10, 0, 10, 40])
@pytest.mark.parametrize("kind", ["white", "brown", "hum", "band"])
def test_pairs_that_fit_raise_no_alarm_however_noisy(kind: str, snr_db: float) -> None:
    for number in range(6):
        clean = voice(number, 12000 + 4000 * number)
        assert measure(noisy(clean, snr_db, kind, number), clean) == Fit()


@pytest.mark.parametrize("case", ["both silent", "clean silent", "one sample", "none", "equal", "offset", "short"])
def test_what_says_nothing_raises_no_alarm(case: str) -> None:
    clean = voice(0)
    cases = {
        "both silent": (0 * clean, 0 * clean), "clean silent": (clean, 0 * clean), "one sample": (clean[:1], clean[:1]),
        "none": (clean[:0], clean[:0]), "equal": (clean, clean), "offset": (noisy(clean, 5) + 0.3, clean - 0.2),
        "short": (late(clean, 40)[:900], clean[:900]),
    }  # fmt: skip
    assert measure(*cases[case]) == Fit()


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_telephone_is_no_delay_no_inversion_and_no_wrong_partner(order: int) -> None:
    band = butter(order, [300, 3400], "band", fs=RATE, output="sos")
    for number in range(6):
        heard = sosfilt(band, voice(number)) + 0.001 * noise(number, 24000, "white")
        fit = measure(heard, voice(number))
        assert (fit.delay, fit.gain > 0, fit.flaw) == (0, True, "")


def test_a_recording_of_which_half_is_silent_is_no_wrong_partner() -> None:
    for number in range(6):
        heard = np.where(np.arange(24000) < 12000, voice(number), 0)
        assert measure(heard, voice(number)).flaw == ""


def test_waveforms_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="of one length, not 5000 and 4000"):
        measure(voice(0)[:5000], voice(0)[:4000])


def test_a_noisy_recording_of_silence_is_found() -> None:
    assert measure(0 * voice(0), voice(0)).flaw == "silent"


def test_swapped_folders_are_suspected() -> None:
    fits = [measure(voice(i), noisy(voice(i), 3)) for i in range(5)]
    assert "are the two swapped?" in fit_notes([str(i) for i in range(5)], fits, RATE, True)[-1]


def write(root: Path, pairs: list[tuple[Wave, Wave]], rate: int = RATE) -> Path:
    """A folder of pairs (noisy, clean)."""
    for i, pair in enumerate(pairs):
        for side, wave in zip(("noisy", "clean"), pair, strict=True):
            (root / side).mkdir(parents=True, exist_ok=True)
            soundfile.write(root / side / f"u{i}.wav", wave, rate)
    return root


def test_notes_say_how_many_and_which_is_the_worst(tmp_path: Path, common: dict[str, Any]) -> None:
    cleans = [voice(i) for i in range(6)]
    made = [(noisy(clean, 15), clean) for clean in cleans]
    made[1] = (late(made[1][0], 40), cleans[1])
    made[2] = (late(made[2][0], 300), cleans[2])
    made[3] = (-made[3][0], cleans[3])
    made[4] = (0.25 * made[4][0], cleans[4])
    made[5] = (made[0][0], cleans[5])
    notes = WavPairs(root=str(write(tmp_path / "pairs", made)), **common).card().notes
    assert [note.split(":")[0] for note in notes] == ["2 of 6 pairs", *["1 of 6 pairs"] * 3]
    for note, words in zip(
        notes,
        ["up to 300 samples (18.8 ms) late (worst: u2); data.align=true", "inverted against the clean one (worst: u3)",
         "12.0 dB weaker in the noisy recording than in the clean one (worst: u4)", "a wrong partner? (worst: u5)"],
        strict=True,
    ):  # fmt: skip
        assert words in note


@pytest.mark.parametrize("delay", [1, 300, -40])
def test_a_delay_is_taken_out_where_it_is_asked_for(delay: int, tmp_path: Path, common: dict[str, Any]) -> None:
    cleans = [np.round(voice(i) * 20000) / 32768 for i in range(5)]
    root = write(tmp_path / "pairs", [(late(clean, delay), clean) for clean in cleans])
    data = WavPairs(root=str(root), align=True, **common)
    assert set(data.corpus.lengths) == {24000 - abs(delay)}
    for batch in data.batches("test"):
        np.testing.assert_allclose(batch.noisy.numpy(), batch.clean.numpy(), atol=1e-4)
    unit = "sample" if abs(delay) == 1 else "samples"
    assert data.card().notes == [
        f"5 of 5 pairs: the noisy recording was shifted by its delay, {abs(delay)} {unit} at most (worst: u0)"
    ]


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_pairs_that_differ_by_a_few_samples_are_cut_and_counted(
    missing: int, tmp_path: Path, common: dict[str, Any]
) -> None:
    made = [(voice(i), voice(i)) for i in range(6)]
    made[2] = (made[2][0][:-missing], made[2][1])
    made[4] = (made[4][0], made[4][1][:-1])
    card = WavPairs(root=str(write(tmp_path / "pairs", made)), **common).card()
    samples = f"{missing} sample{'s' * (missing > 1)}"
    assert card.notes == [
        f"2 of 6 pairs: noisy and clean differed in length, by {samples} at most, and were cut to the shorter (worst: u2)"
    ]


@pytest.mark.parametrize(
    ("rate", "samples"), [(48000, 72001), (48000, 72002), (44100, 66151), (8000, 12001), (22050, 33076)]
)
def test_files_at_two_rates_that_round_to_other_lengths_are_a_pair(
    rate: int, samples: int, tmp_path: Path, common: dict[str, Any]
) -> None:
    root = write(tmp_path / "pairs", [(voice(i, 24001), voice(i, 24001)) for i in range(4)])
    t = np.arange(samples) / rate
    soundfile.write(root / "noisy" / "u1.wav", np.interp(t, np.arange(24001) / RATE, voice(1, 24001)), rate)
    lengths = WavPairs(root=str(root), **common).corpus.lengths
    assert [abs(length - 24001) <= 3 for length in lengths] == [True] * 4


def test_all_pairs_that_differ_in_length_are_named_at_once(tmp_path: Path, common: dict[str, Any]) -> None:
    from speechml.errors import UserError

    made = [(voice(i)[: 24000 - 5 * i], voice(i)) for i in range(6)]
    with pytest.raises(UserError) as refused:
        WavPairs(root=str(write(tmp_path / "pairs", made)), **common).card()
    for i in range(1, 6):
        assert f"u{i} has {24000 - 5 * i} noisy and 24000 clean samples" in str(refused.value)


@needs_shared
def test_real_pairs_raise_no_alarm() -> None:
    root = SHARED / "voicebank-demand-excerpt"
    files = sorted((root / "clean").glob("*.wav"))[::4]
    assert files
    for file in files:
        waves = [soundfile.read(root / side / file.name)[0] for side in ("noisy", "clean")]
        assert measure(*waves) == Fit(), file.name


@pytest.mark.parametrize(("seconds", "can_align", "says"), [
    (0.3, True, "; data.align=true takes it out"), (0.7, True, "; data.align takes out 0.5 s at most"),
    (0.7, False, "; data.align takes out 0.5 s at most"),
])  # fmt: skip
def test_a_delay_that_is_too_long_to_be_taken_out_is_called_that(seconds: float, can_align: bool, says: str) -> None:
    (note,) = fit_notes(["a"], [Fit(delay=round(seconds * RATE))], RATE, can_align)
    assert note.endswith(says)
