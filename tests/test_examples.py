"""The worked examples run as they are written, on recordings made here and on real ones."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import SHARED, command, needs_shared, read_card, tone
from speechml.data.base import BaseDataModule
from speechml.report.audit import audit_data

EXAMPLES = Path(__file__).parents[1] / "examples"
SPEAKERS = {"anna": 300.0, "bert": 700.0, "clara": 1500.0}


@pytest.fixture
def speaker_id(monkeypatch: pytest.MonkeyPatch) -> Callable[..., BaseDataModule[Any]]:
    """The data module of examples/speaker_id."""
    monkeypatch.setenv("SPEECHML_CONF", str(EXAMPLES / "speaker_id"))
    monkeypatch.syspath_prepend(str(EXAMPLES / "speaker_id"))
    from speaker_clips import SpeakerClips

    yield lambda **keys: SpeakerClips(batch_size=8, split_seed=0, sample_rate=8000, **keys)
    del sys.modules["speaker_clips"]


def make_digits(root: Path, takes: int = 3) -> Path:
    """Files named as those of the Free Spoken Digit Dataset; a speaker is a pitch, a digit its length."""
    random = np.random.default_rng(0)
    root.mkdir()
    for digit in range(10):
        for name, hz in SPEAKERS.items():
            for take in range(takes):
                wave = tone(0.3 + 0.05 * digit, 8000, hz) + 0.01 * random.standard_normal(
                    round((0.3 + 0.05 * digit) * 8000)
                )
                soundfile.write(root / f"{digit}_{name}_{take}.wav", wave, 8000)
    return root


RULES = {"speaker": r"\d_([a-z]+)_\d+", "text": r"(\d)_[a-z]+_\d+"}


def test_no_text_of_the_test_is_heard_in_training(speaker_id: Callable[..., Any], tmp_path: Path) -> None:
    data = speaker_id(root=str(make_digits(tmp_path / "digits")), cache=str(tmp_path), **RULES)
    digits = {split: {data.item_names[i][0] for i in items} for split, items in data.splits.items()}
    assert [len(digits[split]) for split in ("train", "val", "test")] == [6, 2, 2]
    assert len(set().union(*digits.values())) == 10
    assert data.classes == sorted(SPEAKERS)
    assert {
        name.split("_")[1] == label for name, label in zip(data.item_names, data.corpus.label_names, strict=True)
    } == {True}
    found = {one.check: (one.state, one.found) for one in audit_data(data).findings}
    assert found["speakers"] == ("passes", "the speakers are the classes, and have to be in every split")
    assert found["texts"] == ("passes", "none of 2 test texts is in another split")


def test_speaker_folders_are_divided_clip_by_clip_and_nothing_is_claimed(
    speaker_id: Callable[..., Any], tmp_path: Path
) -> None:
    for path in make_digits(tmp_path / "digits").iterdir():
        place = tmp_path / "folders" / path.name.split("_")[1] / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    data = speaker_id(root=str(tmp_path / "folders"), cache=str(tmp_path), speaker=-1)
    counts = {split: [sum(data.corpus.label_names[i] == name for i in items) for name in SPEAKERS]
              for split, items in data.splits.items()}  # fmt: skip
    assert counts == {"train": [18] * 3, "val": [6] * 3, "test": [6] * 3}
    assert {one.check: one.state for one in audit_data(data).findings}["texts"] == "unknown"
    everything = speaker_id(root=str(tmp_path / "folders"), cache=str(tmp_path), speaker=-1, split="all")
    assert everything.card().recordings == {"train": 0, "val": 0, "test": 90}


@pytest.mark.slow
def test_speakers_are_told_apart_and_a_recording_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHML_CONF", str(EXAMPLES / "speaker_id"))
    root = make_digits(workplace / "digits")
    words = (
        "experiment=speaker_id", f"data.root={root}", "data.batch_size=16", "model.net.width=8", "model.augment=null",
        "trainer.max_steps=70", f"test_sets={{again: {{root: {root}}}}}",
    )  # fmt: skip
    done = command("speechml-train", *words)
    assert done.returncode == 0, done.stderr
    (run,) = (workplace / "runs" / "speaker_id").iterdir()
    card = read_card(run)
    assert card["scores"]["test/acc"] > 0.9
    assert card["test_sets"]["again"]["data"]["recordings"]["test"] == 90
    assert "18 clips by 3 speakers" in done.stdout
    assert (run / "report.html").is_file()
    named = command("speechml", "classify", str(run), str(root / "9_anna_0.wav"), "--format", "csv")
    assert "anna" in named.stdout, named.stderr


@needs_shared
def test_the_digits_of_the_example_are_divided_by_what_is_said(speaker_id: Callable[..., Any], tmp_path: Path) -> None:
    data = speaker_id(root=str(SHARED / "free-spoken-digit-dataset"), cache=str(tmp_path), **RULES)
    assert data.card().recordings == {"train": 750, "val": 250, "test": 250}
    assert data.classes == ["george", "jackson", "nicolas", "theo", "yweweler"]
    assert all(one.state == "passes" for one in audit_data(data).findings)
