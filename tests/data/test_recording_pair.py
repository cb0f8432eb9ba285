"""One long recording: split in time, refused where it is no pair, spoken where there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import SHARED, make_pairs, needs_shared, tone
from speechml.contracts import IndexBatch, PairBatch
from speechml.data import RecordingPair
from speechml.errors import UserError
from speechml.metrics.waveform import waveform_scores

RATE = 16000


def course_folder(root: Path, seconds: float = 20.0) -> Path:
    """A folder with the course's names: tones and noise, and one recording to listen to."""
    root.mkdir(parents=True, exist_ok=True)
    clean = tone(seconds)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    for name, waveform in (("train_clean_male", clean), ("train_dirty_male", noisy), ("test_x_01", noisy[: 2 * RATE])):
        soundfile.write(root / f"{name}.wav", waveform, RATE)
    return root


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return course_folder(tmp_path / "course")


@pytest.fixture
def opened(course: Path, common: dict[str, Any]) -> Callable[..., RecordingPair]:
    """opened(...) is the course's pair, with short clips and a cache of its own."""
    return lambda **keys: RecordingPair(**{**common, "root": str(course), **keys})


def scored(data: RecordingPair, split: str) -> PairBatch:
    """The one recording of a split as a test has it."""
    (indices,) = data._scoring_groups(data.splits[split])
    return data.load_batch(IndexBatch("test", 0, indices))


def test_the_splits_are_stretches_of_the_files_one_after_another(opened, course: Path) -> None:
    data = opened(heldout=0.2)
    whole, _ = soundfile.read(course / "train_dirty_male.wav", dtype="float32")
    stretches = [scored(data, split).noisy[0, 0] for split in ("train", "val", "test")]
    assert [len(stretch) for stretch in stretches] == [round(seconds * RATE) for seconds in (14.4, 1.6, 4.0)]
    assert torch.equal(torch.cat(stretches), torch.from_numpy(whole))
    assert list(data.scored_items()) == ["train", "heldout"]
    assert data.card().protocol == "time"


def test_without_a_held_out_split_the_whole_file_is_trained_on_and_that_is_said(opened) -> None:
    data = opened(heldout=0)
    assert scored(data, "train").noisy.shape[-1] == 20 * RATE
    assert data.scored_items() == {"train": data.splits["train"]}
    assert data.card().protocol == "as_published"
    assert any("no test" in note for note in data.card().notes)


def test_training_clips_of_waveform_networks_stay_in_the_training_split(opened, course: Path) -> None:
    whole, _ = soundfile.read(course / "train_clean_male.wav", dtype="float32")
    heard = torch.cat([batch.clean[:, 0].reshape(-1) for batch in opened().batches("train")])
    assert torch.equal(heard, torch.from_numpy(whole[: len(heard)]))
    assert 13.5 * RATE < len(heard) <= 14.4 * RATE


def test_a_training_split_shorter_than_a_clip_is_refused_by_waveform_networks(opened) -> None:
    with pytest.raises(UserError, match=r"shorter than one clip of 15\.0 s"):
        opened(clip_s=15.0).set_training_items(None)


def test_recordings_without_a_clean_one_are_given_as_they_are(opened, course: Path) -> None:
    ((name, waveform),) = opened().unpaired()
    expected, _ = soundfile.read(course / "test_x_01.wav", dtype="float32")
    assert name == "test_x_01"
    np.testing.assert_array_equal(waveform, expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"root": "nowhere"}, "nowhere is no folder"),
        ({"clean_file": "a.wav"}, "give both data.clean_file=FILE and data.noisy_file=FILE"),
        ({"root": "x", "clean_file": "a.wav", "noisy_file": "b.wav"}, "name two recordings"),
        ({"clean_file": "a.wav", "noisy_file": "b.wav"}, r"b\.wav does not exist"),
        ({"root": "empty"}, r"empty holds no file train_dirty\*\.wav; give one"),
        ({"root": "short"}, "its shortest split has 0.160 s; each needs at least 0.2 s"),
        ({"root": "pairs"}, r"\(data=wav_pairs takes its folders noisy/ and clean/\)"),
    ],
)
def test_what_is_no_pair_is_one_sentence(
    given: dict[str, Any], words: str, workplace: Path, common: dict[str, Any]
) -> None:
    course_folder(workplace / "short", seconds=2.0)
    make_pairs(workplace / "pairs", 1)
    (workplace / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        RecordingPair(**{**common, **given}).card()


def test_files_may_be_named_themselves_and_swapped_ones_are_suspected(opened, course: Path) -> None:
    clean, noisy = (str(course / f"train_{side}_male.wav") for side in ("clean", "dirty"))
    named = opened(root=None, clean_file=clean, noisy_file=noisy)
    assert named.card().fingerprint == opened().card().fingerprint
    assert named.unpaired() == []
    for data, suspected in ((named, False), (opened(root=None, clean_file=noisy, noisy_file=clean), True)):
        assert any("swapped?" in note for note in data.card().notes) == suspected


def test_two_candidates_are_named(opened, course: Path) -> None:
    soundfile.write(course / "train_clean_female.wav", tone(20.0), RATE)
    names = r"train_clean_female\.wav, train_clean_male\.wav"
    with pytest.raises(UserError, match=rf"2 files train_clean\*\.wav \({names}\)"):
        opened().card()


def test_the_stand_in_resembles_the_course(opened, cache: Path) -> None:
    data = opened(root=None, cache=str(cache))
    assert sum(data.corpus.lengths) == 80 * RATE
    assert [name for name, _ in data.unpaired()] == ["test_x_01", "test_x_02"]
    batch = scored(opened(root=None, cache=str(cache), heldout=0), "train")
    assert float(waveform_scores(batch.noisy, batch.clean)["snr_db"]) == pytest.approx(
        6.5, abs=0.1
    )  # written in 16 bits
    assert float(batch.clean.square().mean().sqrt()) == pytest.approx(0.016, rel=0.05)


@needs_shared
def test_the_courses_recording_has_the_input_snr_it_is_said_to_have(opened) -> None:
    data = opened(root=str(SHARED / "iu-e533-denoising"), heldout=0)
    batch = scored(data, "train")
    assert batch.noisy.shape[-1] == 1_258_899
    assert float(waveform_scores(batch.noisy, batch.clean)["snr_db"]) == pytest.approx(6.51, abs=0.005)
    assert [name for name, _ in data.unpaired()] == ["test_x_01", "test_x_02"]
