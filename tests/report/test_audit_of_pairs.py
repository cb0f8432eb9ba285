"""The audit of noisy and clean recordings: speakers, noise, copies, stretches of time, what tasks fit."""

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from audits import counts, findings, states
from conftest import composed, make_pairs, mixed_folders, tone
from speechml.contracts import SPLITS, IndexBatch
from speechml.data import MixedPairs, RecordingPair, WavPairs, mixed_pairs
from speechml.data.pairs import PairDataModule
from speechml.report.audit import find_overlaps


def heard_samples(data: MixedPairs, part: str) -> set[int]:
    """Values of noise that a part hears in many mixtures with silence, which leaves the noise as it is."""
    silence = torch.zeros(200, 1, 2000)
    mixed = [
        data.corpus.source.load(IndexBatch(part, epoch, torch.arange(200)), lambda _: silence)[0] for epoch in range(3)
    ]
    return {round(value * 32768) for value in torch.cat(mixed).flatten().tolist()}


def test_noise_cut_in_time_passes_and_noise_that_is_not_is_flagged(
    tmp_path: Path, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_pairs, "without_mean", lambda waveform: waveform)  # which would change the values
    folders = mixed_folders(tmp_path)
    shutil.rmtree(folders["noise"])
    for i in range(2):  # every sample of the noise has a value of its own
        Path(folders["noise"]).mkdir(exist_ok=True)
        values = np.arange(1, 12001, dtype=np.int16) * (1 if i else -1)
        soundfile.write(Path(folders["noise"]) / f"{i}.wav", values, 16000)
    for spans, state in (
        (mixed_pairs.NOISE_SPANS, "passes"),
        ({"train": (0, 7), "val": (6, 8), "test": (8, 10)}, "flagged"),
    ):
        monkeypatch.setattr(mixed_pairs, "NOISE_SPANS", spans)
        data = MixedPairs(**folders, **common)
        heard = [heard_samples(data, part) for part in SPLITS]
        assert any(one & other for one, other in combinations(heard, 2)) == (state == "flagged")
        assert states(data)["noise"] == state
        assert states(data)["speakers"] == "passes"


INTERVALS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 6)), max_size=6)


@given(INTERVALS, INTERVALS)
def test_stretches_overlap_where_they_share_a_sample(one: list[Any], other: list[Any]) -> None:
    wanted = [
        any(a == b and set(range(i, i + n)) & set(range(k, k + m)) for b, k, m in other) for a, i, n in one
    ]  # fmt: skip
    some, others = (np.array([(a, i, i + n) for a, i, n in given]).reshape(-1, 3) for given in (one, other))
    assert find_overlaps(some, others).tolist() == wanted


def test_validation_that_shares_a_speaker_with_training_is_told(tmp_path: Path, common: dict[str, Any]) -> None:
    data = MixedPairs(**mixed_folders(tmp_path, speakers=2, each=5), **common)
    finding = findings(data)["speakers"]
    assert finding.state == "passes"
    assert "validation shares 1 of its 1 with training" in finding.found


def test_pairs_of_nobody_known_are_unknown_and_names_of_corpora_tell_more(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    root = make_pairs(tmp_path / "pairs", 10)
    data = WavPairs(root=str(root), **common)
    unknown, passes = (
        dict.fromkeys(("speakers", "noise"), "unknown"),
        dict.fromkeys(("identical audio", "statistics"), "passes"),
    )
    assert states(data) == unknown | passes
    for side in ("noisy", "clean"):
        for i, path in enumerate(sorted((root / side).iterdir())):
            path.rename(path.with_name(f"p{226 + i % 2}_{i:03d}.wav"))
    data = WavPairs(root=str(root), **common)
    assert findings(data)["speakers"].found.endswith("in the training set as well (2 of 2 test recordings)")


def test_clean_speech_that_comes_back_under_other_noise_is_found(tmp_path: Path, common: dict[str, Any]) -> None:
    root = tmp_path / "pairs"
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        make_pairs(root / part, count)  # the clean tones are the same in every part, and so is the noise
        for i in range(count):
            path = root / part / "noisy" / f"item{i}.wav"
            samples, rate = soundfile.read(path)
            soundfile.write(path, np.roll(samples, len(part) * 100), rate)
    finding = findings(WavPairs(root=str(root), **common))["identical audio"]
    assert counts(finding) == (3, 3)
    assert "the clean waveform of 3 of the 3 test recordings are in the training set as well" in finding.found
    assert "noisy" not in finding.found


def test_a_copy_of_half_the_level_is_found(tmp_path: Path, common: dict[str, Any]) -> None:
    root = tmp_path / "pairs"
    for part, level in (("train", 1.0), ("val", 0.7), ("test", 0.5)):
        make_pairs(root / part, 2)
        for side in ("noisy", "clean"):
            seed = 1 if part == "val" else 0
            noise = level * np.random.default_rng([seed, side == "clean"]).uniform(-1, 1, (2, 16000)).astype(np.float32)
            for i, waveform in enumerate(noise):
                soundfile.write(root / part / side / f"item{i}.wav", waveform, 16000, subtype="FLOAT")
    finding = findings(WavPairs(root=str(root), **common))["identical audio"]
    assert counts(finding) == (2, 2)
    assert "validation" not in finding.found


def test_a_recording_divided_in_time_is_told_apart_from_one_that_is_trained_on_whole(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    for name in ("train_clean_male", "train_dirty_male"):
        soundfile.write(tmp_path / f"{name}.wav", tone(20.0), 16000)
    data = RecordingPair(root=str(tmp_path), **common)
    assert states(data) == {"recordings": "flagged", "moments": "passes", "statistics": "passes"}
    assert "at other moments" in findings(data)["recordings"].found
    assert "the 4.0 s of the test set begin 1.6 s after the training set ends" in findings(data)["moments"].found
    whole = RecordingPair(root=str(tmp_path), heldout=0, **common)
    assert set(states(whole).values()) == {"flagged"}
    assert "at other moments" not in findings(whole)["recordings"].found
    assert "20.0 of the 20.0 s" in findings(whole)["moments"].found


@pytest.mark.parametrize("experiment", ["mimo_cnn_tuned", "hw2_cnn1d_tuned", "hw2_cnn2d"])
def test_what_tasks_fit_before_training_is_of_the_training_part(
    experiment: str, workplace: Path, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit says so of data modules whose `batches("train")` the tasks take."""
    from speechml.config.compose import resolve_config
    from speechml.engine.checkpoint import build_task

    data = WavPairs(root=str(make_pairs(workplace / "pairs")), **common)
    task: Any = build_task(
        resolve_config(composed("train", f"experiment={experiment}", "data=wav_pairs", "data.root=pairs")), "it"
    )
    task.setup_for(data)
    items: set[int] = set()
    load_batch = PairDataModule.load_batch

    def load_and_note(self: PairDataModule, batch: IndexBatch) -> Any:
        source = self.corpus.source.clean
        recordings = source.row_file[batch.indices] if self.training_items is None else self.splits[batch.split]
        items.update(torch.as_tensor(recordings).tolist())
        return load_batch(self, batch)

    monkeypatch.setattr(PairDataModule, "load_batch", load_and_note)
    task.prepare(data)
    assert items
    assert items <= set(data.splits["train"]) == set(data.provenance().fitted)
