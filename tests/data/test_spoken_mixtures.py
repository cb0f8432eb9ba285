"""The embedded speech in noise, against independent measurements: nothing that a test hears was heard in training."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal

from speechml.contracts import SPLITS, IndexBatch
from speechml.data import SpokenMixtures
from speechml.data.splits import voice_speaker
from speechml.data.spoken_mixtures import NOISES, RECORDINGS
from speechml.data.synthetic import noises
from speechml.data.synthetic.exact import Draws
from speechml.data.synthetic.sentences import LEAD, LEVEL, sentences
from speechml.errors import UserError
from speechml.storage.pack import Pack

RATE = noises.SAMPLE_RATE
COUNT = 60
ALL_KINDS = [(split, kind) for split, kinds in noises.KINDS.items() for kind in kinds]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpokenMixtures:
    return SpokenMixtures(count=COUNT, cache=str(tmp_path_factory.mktemp("cache")))


def whole(items: torch.Tensor) -> Callable[[Pack], torch.Tensor]:
    return lambda pack: pack.whole(items)


def density_db(sound: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Mean power density of a band in dB, by Welch's method."""
    frequencies, power = signal.welch(sound.astype(float), RATE, nperseg=4096)
    return float(10 * np.log10(power[(frequencies >= low_hz) & (frequencies < high_hz)].mean()))


# Noise


def test_no_kind_of_noise_is_in_two_splits() -> None:
    names = [kind for _, kind in ALL_KINDS]
    assert len(set(names)) == len(names)
    assert sum(RECORDINGS[split] for split, _ in ALL_KINDS) == NOISES
    assert set(noises.KINDS) == set(SPLITS)


@pytest.mark.parametrize(("split", "kind"), ALL_KINDS)
def test_every_kind_is_loud_enough_hardly_cut_and_its_own(split: str, kind: str) -> None:
    first, second = (noises.noise(split, kind, 4.0, number) for number in (1, 2))
    for sound in (first, second):
        assert len(sound) == 4 * RATE
        assert np.sqrt(np.mean(np.square(sound, dtype=float))) == pytest.approx(noises.RMS, rel=0.05)
        assert (np.abs(sound) >= 32767).mean() < 0.005
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5  # two recordings of one kind
    assert np.array_equal(first, noises.noise(split, kind, 4.0, 1))  # whatever was made in between


@pytest.mark.parametrize("fall", [0, 300, 600, 900])
def test_hiss_falls_as_it_is_asked_to(fall: int) -> None:
    sound = noises.hiss(Draws(1), 20 * RATE, 0, 7900, fall)
    octaves = [density_db(sound, hz / 1.1, hz * 1.1) for hz in (250, 500, 1000, 2000, 4000)]
    assert np.polyfit(range(5), octaves, 1)[0] == pytest.approx(-fall / 100, abs=0.5)  # dB an octave


def test_hiss_stays_in_its_band() -> None:
    sound = noises.hiss(Draws(2), 10 * RATE, 1000, 3000, 0)
    assert density_db(sound, 1200, 2800) > density_db(sound, 3200, 7900) + 60
    assert density_db(sound, 1200, 2800) > density_db(sound, 50, 800) + 60


def test_pulses_are_multiples_of_their_frequency() -> None:
    sound = noises.pulses(Draws(3), 8 * RATE, (200, 200), 60, 0, 3000)
    frequencies, power = signal.welch(sound.astype(float), RATE, nperseg=RATE)  # bins of 1 Hz
    near = np.abs((frequencies + 100) % 200 - 100) <= 3
    heard = (frequencies > 100) & (frequencies < 2500)
    assert power[heard & near].sum() > 100 * power[heard & ~near].sum()


def test_a_swell_stays_between_its_floor_and_one() -> None:
    steady = noises.swell(Draws(4), 5 * RATE, lambda _, samples: np.full(samples, 1 << 16), 0.5, 64)
    assert 63 << 8 <= steady.min() < steady.max() <= 1 << 16
    assert np.abs(np.diff(steady)).max() <= 1 << 8  # of 256 steps one at a time


def test_those_who_talk_in_the_background_say_no_sentence() -> None:
    cast = noises.cast_voices()
    people = [{voice_speaker(voice) for voice in part} for part in (cast.speakers, *cast.aside)]
    assert all(people)
    assert [first & second for first, second in combinations(people, 2)] == [set()] * 3


# Sentences


def test_sentences_begin_in_silence_at_their_level_and_depend_on_their_number_alone() -> None:
    three, one = list(sentences(3)), next(iter(sentences(1)))
    assert np.array_equal(one.waveforms["samples"], three[0].waveforms["samples"])
    for recording in three:
        samples = recording.waveforms["samples"].astype(float)
        assert len(samples) == 3 * RATE
        level = 20 * np.log10(np.sqrt(np.mean(samples**2)) / 32768)
        assert LEVEL[0] / 100 - 0.1 < level < LEVEL[1] / 100 + 0.1
        assert np.abs(samples[: LEAD[0] - 800]).max() < 0.02 * np.abs(samples).max()


# Mixtures


def test_a_split_hears_its_own_kinds_and_voices_only(data: SpokenMixtures) -> None:
    audible = data.corpus.source.audible
    names = data.noise_names
    heard = {split: {names[file].split("/")[1].rsplit("_", 1)[0] for file in audible[split].files.tolist()}
             for split in SPLITS}  # fmt: skip
    assert heard == {split: set(kinds) for split, kinds in noises.KINDS.items()}
    speakers = {split: {data.corpus.speakers[item] for item in data.splits[split]} for split in SPLITS}
    assert not speakers["train"] & speakers["test"]
    assert not speakers["train"] & speakers["val"]
    assert not speakers["val"] & speakers["test"]


@pytest.mark.parametrize("split", SPLITS)
def test_mixtures_have_the_snr_that_is_asked_for(data: SpokenMixtures, split: str) -> None:
    items = torch.tensor(data.splits[split])
    noisy, clean = data.corpus.source.load(IndexBatch(split, 0, items), whole(items))
    snr = 10 * torch.log10(clean.square().mean(-1) / (noisy - clean).square().mean(-1))
    assert -0.01 <= float(snr.min()) <= float(snr.max()) <= 15.01
    assert float(snr.max() - snr.min()) > 3


def test_training_mixtures_change_by_the_epoch_and_those_of_scores_do_not(data: SpokenMixtures) -> None:
    for split, changes in (("train", True), ("val", False), ("test", False)):
        items = torch.tensor(data.splits[split][:2])
        first, second = (data.corpus.source.load(IndexBatch(split, epoch, items), whole(items))[0] for epoch in (0, 1))
        assert torch.equal(first, second) != changes


def test_a_cache_that_is_there_is_used(data: SpokenMixtures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechml.data.synthetic.sentences.sentences", lambda _: pytest.fail("spoken again"))
    again = SpokenMixtures(count=COUNT, cache=data.cache)
    assert again.card().fingerprint == data.card().fingerprint


def test_a_range_of_snrs_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="snr_db"):
        SpokenMixtures(snr_db=[5, 0], cache=str(tmp_path))
