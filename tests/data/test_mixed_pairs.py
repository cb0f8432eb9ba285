"""Speech and noise that are mixed as they are asked for: SNR, speakers, stretches of noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import mixed_folders
from speechml.contracts import IndexBatch
from speechml.data import MixedPairs
from speechml.data.mixed_pairs import find_moves
from speechml.data.splits import speakers_of, split_by_speaker
from speechml.errors import UserError
from speechml.metrics.waveform import waveform_scores
from speechml.storage.pack import Pack


def test_mixtures_have_the_snr_that_was_asked_for(tmp_path: Path, common: dict[str, Any]) -> None:
    data = MixedPairs(**mixed_folders(tmp_path), snr_db=[3.0, 3.0], **common)
    for split in ("train", "test"):
        for batch in data.batches(split):
            torch.testing.assert_close(
                waveform_scores(batch.noisy, batch.clean)["snr_db"],
                torch.full((len(batch.indices),), 3.0).double(),
                atol=1e-3,
                rtol=0,
            )


def test_training_mixtures_are_new_each_epoch_and_do_not_depend_on_the_batch(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    data = MixedPairs(**mixed_folders(tmp_path), **common)
    clips = data.corpus.clips
    together = data.load_batch(IndexBatch("train", 3, clips[:4])).noisy
    assert torch.equal(data.load_batch(IndexBatch("train", 3, clips[2:3])).noisy[0], together[2])
    assert not torch.equal(data.load_batch(IndexBatch("train", 4, clips[:4])).noisy, together)


def test_no_stretch_of_noise_is_heard_in_two_splits(tmp_path: Path, common: dict[str, Any]) -> None:
    folders = mixed_folders(tmp_path)
    for i in range(2):  # noise whose value is its own position
        soundfile.write(tmp_path / "noise" / f"noise{i}.wav", np.arange(40000) / 40000, 16000, subtype="FLOAT")
    data = MixedPairs(**folders, snr_db=[0, 0], **common)
    mixer, spans = data.corpus.source, {}
    for split in ("train", "val", "test"):
        draws = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
        heard = mixer.stretch(split, 3000, draws[:, 0], draws[:, 1])
        spans[split] = (float(heard.min()), float(heard.max()))
    assert spans["train"][1] < spans["val"][0] + 1e-3 < spans["val"][1] < spans["test"][0] + 1e-3


def test_a_pause_is_measured_in_each_part_of_noise() -> None:
    samples = np.zeros(1000, np.int16)
    samples[[100, 103, 300]] = 5, 9, -9  # training hears 0 to 599, validation 600 to 799, which is silent
    samples[900:] = 1
    assert find_moves(samples) == [102, 299, -1, 200, 99, 100]


def test_a_link_to_a_speaker_is_no_other_speaker(tmp_path: Path, common: dict[str, Any]) -> None:
    folders = mixed_folders(tmp_path, speakers=2)
    own = MixedPairs(**folders, **common).corpus
    (tmp_path / "clean" / "latest").symlink_to("speaker0")
    corpus = MixedPairs(**folders, **common).corpus
    assert (corpus.names, corpus.speakers, corpus.splits) == (own.names, own.speakers, own.splits)
    assert any("links in clean/ lead to files that are in it anyway" in note for note in corpus.notes)


def test_noise_is_read_when_it_is_packed_and_no_step_asks_the_device(
    tmp_path: Path, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = mixed_folders(tmp_path)
    paused = np.r_[0.1 * np.random.default_rng(0).standard_normal(4000), np.zeros(30000), np.ones(6000) * 0.1]
    soundfile.write(tmp_path / "noise" / "noise0.wav", paused, 16000)
    first = MixedPairs(**folders, **common)
    batch = IndexBatch("train", 0, first.corpus.clips[:9])
    expected = first.load_batch(batch)

    def refuse(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(Pack, "recording", refuse)
        data = MixedPairs(**folders, **common)
        assert data.corpus.notes == first.corpus.notes
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "__bool__", refuse)
        loaded = data.load_batch(batch)
    assert torch.equal(loaded.noisy, expected.noisy)
    assert bool((loaded.noisy - loaded.clean).std(-1).gt(0).all())


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_test_speakers_are_never_heard_in_training(count: int) -> None:
    speakers = [f"s{i % count}" for i in range(60)]
    splits, protocol = split_by_speaker(speakers, 0)
    heard = {speakers[i] for split in ("train", "val") for i in splits[split]}
    assert not heard & {speakers[i] for i in splits["test"]}
    assert protocol == "speaker"
    assert all(splits.values())


def test_one_speaker_is_divided_by_recording_and_said(tmp_path: Path, common: dict[str, Any]) -> None:
    card = MixedPairs(**mixed_folders(tmp_path, speakers=1, each=6), **common).card()
    assert card.protocol == "random"
    assert any("one speaker only" in note for note in card.notes)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["train-clean-100/19/198/19-198-0005.flac", "train-clean-100/26/495/26-495-0001.flac"], ["19", "26"]),
        (["p225/p225_003.wav", "p226/p226_003.wav"], ["p225", "p226"]),
        (["wav48/p225/a.wav", "wav48/p226/a.wav"], ["p225", "p226"]),
        (["a.wav", "b.wav"], ["", ""]),
    ],
)
def test_the_speaker_folder_is_found_in_usual_layouts(paths: list[str], expected: list[str]) -> None:
    assert speakers_of([Path(p) for p in paths]) == expected


def test_silent_speech_and_silent_noise_mix_to_finite_numbers(tmp_path: Path, common: dict[str, Any]) -> None:
    folders = mixed_folders(tmp_path)
    soundfile.write(tmp_path / "clean" / "speaker0" / "0.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "noise" / "noise0.wav", np.zeros(16000), 16000)
    data = MixedPairs(**folders, **common)
    for split in ("train", "val", "test"):
        assert all(bool(torch.isfinite(batch.noisy).all()) for batch in data.batches(split))


def heard_snr_db(noisy: np.ndarray, clean: np.ndarray) -> float:
    """Power of speech over that of noise, without what cannot be heard of both, in dB."""
    return float(10 * np.log10(clean.var() / (noisy - clean).var()))


@pytest.mark.parametrize(("speech_dc", "noise_dc"), [(0.0, 0.2), (0.2, 0.0), (-0.3, 0.4), (0.0, 0.0), (0.5, -0.01)])
@pytest.mark.parametrize("asked", [5.0, -10.0, 20.0])
def test_the_snr_is_that_of_what_is_heard(
    asked: float, speech_dc: float, noise_dc: float, tmp_path: Path, common: dict[str, Any]
) -> None:
    folders = mixed_folders(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        wave, rate = soundfile.read(path)
        dc = speech_dc if "clean" in path.parts else noise_dc
        soundfile.write(path, wave + dc, rate, subtype="FLOAT")
    data = MixedPairs(**folders, snr_db=[asked, asked], **common)
    for split in ("train", "test"):
        for batch in data.batches(split):
            for noisy, clean in zip(batch.noisy[:, 0].numpy(), batch.clean[:, 0].numpy(), strict=True):
                assert heard_snr_db(noisy, clean) == pytest.approx(asked, abs=0.01)
            scored = waveform_scores(batch.noisy, batch.clean)["snr_db"].numpy()  # the scores say the same
            np.testing.assert_allclose(scored, asked, atol=0.01)


@pytest.mark.parametrize("level", [0.0, 0.25])
@pytest.mark.parametrize("part", ["all", "train", "val", "test"])
def test_noise_that_is_silent_in_a_split_is_refused(
    part: str, level: float, tmp_path: Path, common: dict[str, Any]
) -> None:
    folders = mixed_folders(tmp_path)
    begin, end = {"all": (0, 1), "train": (0, 0.61), "val": (0.59, 0.81), "test": (0.79, 1)}[part]
    for i in range(2):
        noise = 0.1 * np.random.default_rng(i).standard_normal(40000)
        noise[round(begin * 40000) : round(end * 40000)] = level
        soundfile.write(tmp_path / "noise" / f"noise{i}.wav", noise, 16000)
    with pytest.raises(UserError, match="is silent from"):
        MixedPairs(**folders, **common).card()


def test_a_silent_recording_of_noise_is_left_out_and_counted(tmp_path: Path, common: dict[str, Any]) -> None:
    folders = mixed_folders(tmp_path)
    soundfile.write(tmp_path / "noise" / "noise0.wav", np.zeros(40000), 16000)
    data = MixedPairs(**folders, snr_db=[5, 5], **common)
    assert any("1 of 2 recordings are silent" in note for note in data.card().notes)
    for batch in data.batches("train"):
        np.testing.assert_allclose(waveform_scores(batch.noisy, batch.clean)["snr_db"].numpy(), 5, atol=0.01)


def test_where_noise_pauses_another_place_is_heard(tmp_path: Path, common: dict[str, Any]) -> None:
    """Nine tenths of each part of the noise are silent, and no mixture is."""
    folders = mixed_folders(tmp_path)
    for i in range(2):
        noise = np.zeros(400000)
        for begin in (100000, 260000, 340000):
            noise[begin : begin + 4000] = 0.1 * np.random.default_rng(i).standard_normal(4000)
        soundfile.write(tmp_path / "noise" / f"noise{i}.wav", noise, 16000)
    data = MixedPairs(**folders, snr_db=[5, 5], **common)
    for split in ("train", "val", "test"):
        for batch in data.batches(split):
            np.testing.assert_allclose(waveform_scores(batch.noisy, batch.clean)["snr_db"].numpy(), 5, atol=0.01)


def test_noise_shorter_than_speech_is_repeated_and_said(tmp_path: Path, common: dict[str, Any]) -> None:
    folders = mixed_folders(tmp_path)
    soundfile.write(tmp_path / "noise" / "noise0.wav", 0.1 * np.random.default_rng(0).standard_normal(3000), 16000)
    data = MixedPairs(**folders, snr_db=[5, 5], **common)
    assert any("it is repeated" in note for note in data.card().notes)
    for batch in data.batches("test"):
        np.testing.assert_allclose(waveform_scores(batch.noisy, batch.clean)["snr_db"].numpy(), 5, atol=0.01)
