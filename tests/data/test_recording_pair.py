"""One long recording: divided in time, refused where it is no pair, spoken where there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import SHARED, make_pairs, needs_shared, tone
from speechml.data import RecordingPair
from speechml.errors import UserError
from speechml.metrics.waveform import waveform_scores

RATE = 16000


def course_folder(root: Path, seconds: float = 20.0, rate: int = RATE) -> Path:
    """A folder with the course's names: tones and noise, and one recording to listen to."""
    root.mkdir(parents=True, exist_ok=True)
    clean = tone(seconds, rate)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    for name, waveform in (("train_clean_male", clean), ("train_dirty_male", noisy), ("test_x_01", noisy[: 2 * rate])):
        soundfile.write(root / f"{name}.wav", waveform, rate)
    return root


def test_the_parts_are_stretches_of_the_files_one_after_another(tmp_path: Path, common: dict[str, Any]) -> None:
    data = RecordingPair(str(course_folder(tmp_path / "course")), heldout=0.2, **common)
    whole, _ = soundfile.read(tmp_path / "course" / "train_dirty_male.wav", dtype="float32")
    found = []
    for part, seconds in (("train", 14.4), ("val", 1.6), ("test", 4.0)):
        (batch,) = list(_scored(data, part))
        assert batch.noisy.shape[-1] == round(seconds * RATE)
        found.append(batch.noisy[0, 0])
    assert torch.equal(torch.cat(found), torch.from_numpy(whole))
    assert list(data.scored_items()) == ["train", "heldout"]
    assert data.card().protocol == "time"


def _scored(data: RecordingPair, part: str) -> Any:
    from speechml.contracts import IndexBatch

    for index in data._scoring_groups(data.splits[part]):
        yield data.load_batch(IndexBatch("test", 0, index))


def test_without_a_held_out_part_the_whole_file_is_trained_on_and_that_is_said(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    data = RecordingPair(str(course_folder(tmp_path / "course")), heldout=0, **common)
    (batch,) = list(_scored(data, "train"))
    assert batch.noisy.shape[-1] == 20 * RATE
    assert data.scored_items() == {"train": data.splits["train"]}
    assert data.card().protocol == "as_published"
    assert any("no test" in note for note in data.card().notes)


def test_training_clips_of_waveform_networks_stay_in_the_training_part(tmp_path: Path, common: dict[str, Any]) -> None:
    data = RecordingPair(str(course_folder(tmp_path / "course")), heldout=0.2, **common)
    whole, _ = soundfile.read(tmp_path / "course" / "train_clean_male.wav", dtype="float32")
    heard = torch.cat([batch.clean[:, 0].reshape(-1) for batch in data.batches("train")])
    assert torch.equal(heard, torch.from_numpy(whole[: len(heard)]))
    assert 13.5 * RATE < len(heard) <= 14.4 * RATE


def test_a_training_part_shorter_than_a_clip_is_refused_by_waveform_networks(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    data = RecordingPair(str(course_folder(tmp_path / "course", seconds=8.0)), **{**common, "clip_s": 6.0})
    with pytest.raises(UserError, match=r"shorter than one clip of 6\.0 s"):
        data.set_training_items(None)


def test_files_may_be_named_themselves(tmp_path: Path, common: dict[str, Any]) -> None:
    root = course_folder(tmp_path / "course")
    named = RecordingPair(
        clean_file=str(root / "train_clean_male.wav"), noisy_file=str(root / "train_dirty_male.wav"), **common
    )
    assert named.card().fingerprint == RecordingPair(str(root), **common).card().fingerprint
    assert named.unpaired() == []


def test_recordings_without_a_clean_one_are_given_as_they_are(tmp_path: Path, common: dict[str, Any]) -> None:
    root = course_folder(tmp_path / "course")
    ((name, waveform),) = RecordingPair(str(root), **common).unpaired()
    expected, _ = soundfile.read(root / "test_x_01.wav", dtype="float32")
    assert name == "test_x_01"
    np.testing.assert_array_equal(waveform, expected)


def test_another_sample_rate_is_resampled_and_said_once(tmp_path: Path, common: dict[str, Any]) -> None:
    data = RecordingPair(str(course_folder(tmp_path / "course", rate=8000)), **common)
    assert sum(data.corpus.lengths) == 20 * RATE
    assert [n for n in data.card().notes if "resampled" in n] == [
        "2 files at 8000 Hz resampled to 16000 Hz (data.sample_rate sets it)"
    ]


def test_clean_and_noisy_of_different_length_are_refused_with_both(tmp_path: Path, common: dict[str, Any]) -> None:
    root = course_folder(tmp_path / "course")
    soundfile.write(root / "train_clean_male.wav", tone(19.0), RATE)
    with pytest.raises(UserError, match=r"dirty_male\.wav has 320000 samples, .*clean_male\.wav has 304000 samples"):
        RecordingPair(str(root), **common).card()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"root": "nowhere"}, "nowhere is no folder"),
        ({"clean_file": "a.wav"}, "give both data.clean_file=FILE and data.noisy_file=FILE"),
        ({"root": "x", "clean_file": "a.wav", "noisy_file": "b.wav"}, "name two recordings"),
        ({"clean_file": "a.wav", "noisy_file": "b.wav"}, r"b\.wav does not exist"),
        ({"root": "course", "heldout": 0.9}, "heldout is 0.9"),
        ({"root": "course", "heldout": -0.1}, "heldout is -0.1"),
        ({"root": "empty"}, r"empty holds no file train_dirty\*\.wav; give one"),
        ({"root": "short"}, "its shortest part has 0.160 s; each needs at least 0.2 s"),
        ({"root": "course", "stereo": "left"}, "stereo is 'left'"),
    ],
)
def test_what_is_no_pair_is_one_sentence(
    given: dict[str, Any], words: str, workplace: Path, common: dict[str, Any]
) -> None:
    course_folder(workplace / "course")
    course_folder(workplace / "short", seconds=2.0)
    (workplace / "empty").mkdir()
    with pytest.raises((UserError, ValueError), match=words):
        RecordingPair(**{**common, **given}).card()


def test_a_folder_of_pairs_is_told_where_to_go(workplace: Path, common: dict[str, Any]) -> None:
    make_pairs(workplace / "pairs")
    with pytest.raises(UserError, match=r"\(data=wav_pairs takes its folders noisy/ and clean/\)"):
        RecordingPair("pairs", **common).card()


def test_swapped_recordings_are_suspected(tmp_path: Path, common: dict[str, Any]) -> None:
    root = course_folder(tmp_path / "course")
    files = {"noisy_file": str(root / "train_clean_male.wav"), "clean_file": str(root / "train_dirty_male.wav")}
    assert any("swapped?" in note for note in RecordingPair(**files, **common).card().notes)
    assert not any("swapped?" in note for note in RecordingPair(str(root), **common).card().notes)


def test_two_candidates_are_named(tmp_path: Path, common: dict[str, Any]) -> None:
    root = course_folder(tmp_path / "course")
    soundfile.write(root / "train_clean_female.wav", tone(20.0), RATE)
    with pytest.raises(
        UserError, match=r"2 files train_clean\*\.wav \(train_clean_female\.wav, train_clean_male\.wav\)"
    ):
        RecordingPair(str(root), **common).card()


def test_the_stand_in_resembles_the_course(common: dict[str, Any], cache: Path) -> None:
    data = RecordingPair(**{**common, "cache": str(cache)})
    assert sum(data.corpus.lengths) == 80 * RATE
    assert [name for name, _ in data.unpaired()] == ["test_x_01", "test_x_02"]
    whole = RecordingPair(**{**common, "cache": str(cache)}, heldout=0)
    (batch,) = list(_scored(whole, "train"))
    assert float(waveform_scores(batch.noisy, batch.clean)["snr_db"]) == pytest.approx(
        6.5, abs=0.1
    )  # written in 16 bits
    assert float(batch.clean.square().mean().sqrt()) == pytest.approx(0.016, rel=0.05)


@needs_shared
def test_the_courses_recording_has_the_input_snr_it_is_said_to_have(common: dict[str, Any]) -> None:
    data = RecordingPair(str(SHARED / "iu-e533-denoising"), heldout=0, **common)
    (batch,) = list(_scored(data, "train"))
    assert batch.noisy.shape[-1] == 1_258_899
    assert float(waveform_scores(batch.noisy, batch.clean)["snr_db"]) == pytest.approx(6.51, abs=0.005)
    assert [name for name, _ in data.unpaired()] == ["test_x_01", "test_x_02"]
