"""Data that are a test set alone: everything in them is scored, nothing is trained on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import composed, make_features, make_pairs, make_words, mixed_folders, run_of
from data.test_pairs import lab_file, lab_pair
from speechml.data import LabPairs, MixedPairs, RecordingPair, SpeechCommands, WavPairs
from speechml.data.base import BaseDataModule
from speechml.engine.evaluate import evaluate
from speechml.engine.parts import build_data
from speechml.errors import UserError
from speechml.music.data import GenreFeatures

KINDS = {"wav": 7, "lab": 12, "mixed": 12, "words": 12, "genre": 388, "recording": 1}


def module(kind: str, root: Path, common: dict[str, Any]) -> BaseDataModule[Any]:
    """Data of some kind that score everything, and hold KINDS items."""
    few = {key: common[key] for key in ("batch_size", "split_seed", "cache")}
    pair = make_pairs(root / "pairs", 7) if kind in ("wav", "recording") else root
    if kind == "wav":
        return WavPairs(root=str(pair), split="all", **common)
    if kind == "lab":
        return LabPairs(root=str(lab_file(root / "l.pt", [lab_pair(seed=i) for i in range(12)])), split="all", **common)
    if kind == "mixed":
        return MixedPairs(**mixed_folders(root), split="all", **common)
    if kind == "words":
        return SpeechCommands(root=str(make_words(root / "w", speakers=4)), split="all", sample_rate=16000, **few)
    if kind == "genre":
        return GenreFeatures(root=str(make_features(root / "f.npz")), split="all", **few)
    files = {f"{side}_file": str(pair / side / "item0.wav") for side in ("noisy", "clean")}
    return RecordingPair(**files, split="all", **common)


@pytest.mark.parametrize("kind", KINDS)
def test_all_items_are_test_where_it_is_asked_for(kind: str, tmp_path: Path, common: dict[str, Any]) -> None:
    data = module(kind, tmp_path, common)
    card = data.card()
    assert (card.protocol, card.recordings) == ("all", {"train": 0, "val": 0, "test": KINDS[kind]})
    scored = [int(i) for batch in data.test_dataloader() for i in batch.indices]
    assert sorted(scored) == list(range(KINDS[kind]))
    assert all(torch.isfinite(batch[0]).all() for batch in data.test_dataloader())
    assert not any("random" in note or "flatter" in note or "cannot learn" in note for note in card.notes)


@pytest.mark.parametrize("layout", ["test", "test and val"])
def test_a_folder_with_a_test_part_alone_is_a_test_set(layout: str, tmp_path: Path, common: dict[str, Any]) -> None:
    make_pairs(tmp_path / "pairs" / "test", 5)
    if layout != "test":
        make_pairs(tmp_path / "pairs" / "val", 2)
    data = WavPairs(root=str(tmp_path / "pairs"), **common)
    assert [data.item_names[i] for i in data.splits["test"]] == [f"test/item{i}" for i in range(5)]
    assert data.card().protocol == "official"


@pytest.mark.parametrize("layout", ["test", "all"])
def test_nothing_can_be_trained_on_a_test_set(layout: str, tmp_path: Path, common: dict[str, Any]) -> None:
    make_pairs(tmp_path / "pairs" / "test" if layout == "test" else tmp_path / "pairs", 5)
    node = {"_target_": "speechml.data.WavPairs", "root": str(tmp_path / "pairs"), "seed": 0, **common}
    with pytest.raises(UserError, match=r"nothing to train on.*speechml-evaluate"):
        build_data({"data": node | ({"split": "all"} if layout == "all" else {})})


def test_folders_beside_the_splits_are_named(tmp_path: Path, common: dict[str, Any]) -> None:
    for part in ("train", "test", "dev"):
        make_pairs(tmp_path / "pairs" / part, 4)
    assert WavPairs(root=str(tmp_path / "pairs"), **common).card().notes == [
        "noisy/ and clean/ in dev are not used: splits are called train/, val/ and test/"
    ]


@pytest.mark.parametrize("layout", ["test/", "split=all"])
def test_a_run_is_scored_on_a_whole_foreign_set_beside_its_own_wiener_filter(
    layout: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The filter, computed here from the taps in the card, gives the score of the table."""
    run, random = run_of(runs), np.random.default_rng(0)
    root = Path("foreign/test" if layout == "test/" else "foreign")
    truth = []
    taps = np.array(json.loads((run / "card.json").read_text())["wiener"])
    for i in range(6):
        clean = 0.1 * np.sin(np.arange(16000) * (0.02 + 0.01 * i)).astype(np.float32)
        noisy = clean + 0.05 * random.standard_normal(16000).astype(np.float32)
        for side, wave in (("noisy", noisy), ("clean", clean)):
            (root / side).mkdir(parents=True, exist_ok=True)
            soundfile.write(root / side / f"{i}.wav", wave, 32000, subtype="FLOAT")
        error = np.convolve(noisy, taps)[:16000] - clean
        truth.append(10 * np.log10((clean**2).sum() / (error**2).sum()))
    words = ["data=wav_pairs", "data.root=foreign", "data.sample_rate=32000"]
    scores = evaluate(composed("evaluate", f"run={run}", *words, *(["data.split=all"] if layout != "test/" else [])))
    assert scores["test/snr_wiener_db"] == pytest.approx(np.mean(truth), abs=0.01)
    said = capsys.readouterr().out
    assert "6 test recordings of 6" in said
    assert "The Wiener filter is the run's own" in said


def test_a_plain_foreign_folder_says_what_is_left_out(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs(Path("plain"), 10, rate=32000)
    evaluate(composed("evaluate", f"run={run_of(runs)}", "data=wav_pairs", "data.root=plain", "data.sample_rate=32000"))
    assert "The other 8 are what a training would have: data.split=all scores all of them." in capsys.readouterr().out
