"""Further test sets by name: scored with the weights of the run's own test, and changing nothing of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import composed, edit_card, make_pairs, make_words, mixed_folders, read_card
from speechml.engine.checkpoint import read_checkpoint, write_checkpoint
from speechml.engine.evaluate import evaluate
from speechml.errors import UserError
from speechml.report.compare import compare_runs
from speechml.report.pages import write_run_report
from speechml.runs.predictions import load_predictions

Train = Callable[..., Path]
FAST = (
    "experiment=lab2a_fir_tuned", "data=wav_pairs", "data.root=pairs", "trainer.max_epochs=1", "model.net.taps=8",
    "callbacks.figures=null", "callbacks.listening=null", "report=false",
)  # fmt: skip


def own_scores(run: Path) -> dict[str, Any]:
    return {
        name: value
        for name, value in read_card(run)["scores"].items()
        if name.split("/")[0] in ("train", "val", "test")
    }


@pytest.fixture
def pairs(workplace: Path) -> Path:
    """Folders pairs/ to train on and other/ to test on, of which two recordings are pairs' own."""
    make_pairs(workplace / "pairs")
    make_pairs(workplace / "other", 4, seconds=1.1)
    for side in ("noisy", "clean"):
        for i in range(2):
            shutil.copy(workplace / "pairs" / side / f"item{i}.wav", workplace / "other" / side / f"again{i}.wav")
    return workplace


@pytest.mark.usefixtures("pairs")
def test_a_set_has_the_scores_that_an_evaluation_gives_and_changes_no_others(train: Train) -> None:
    plain = train(*FAST)
    then = own_scores(plain)
    shutil.rmtree(plain)
    run = train(*FAST, "++test_sets.car.root=other")
    assert run == plain  # the same run: they are no part of its id
    assert own_scores(run) == then
    again = evaluate(composed("evaluate", f"run={run}", "data=wav_pairs", "data.root=other", "data.split=all"))
    car = {name: value for name, value in read_card(run)["scores"].items() if name.startswith("car/")}
    assert car == pytest.approx({name.replace("test/", "car/"): value for name, value in again.items()})
    rows = load_predictions(run / "test_sets" / "car.npz")
    assert sorted(rows["name"]) == ["again0", "again1", *(f"item{i}" for i in range(4))]
    assert np.mean(rows["snr_db"]) == pytest.approx(car["car/snr_db"])


@pytest.mark.usefixtures("pairs")
def test_what_a_set_shares_with_the_training_is_said(train: Train) -> None:
    run = train(*FAST, "++test_sets.car.root=other", "++test_sets.rest={root: pairs, split: folders}")
    card = read_card(run)
    (finding,) = [one for one in card["test_sets"]["car"]["audit"]["findings"] if one["check"] == "identical audio"]
    tested = set(load_predictions(run / "predictions.npz")["name"].tolist())
    assert (finding["state"], finding["of"]) == ("flagged", 6)
    assert finding["shared"] == 2 - len(tested & {"item0", "item1"})
    assert card["test_sets"]["rest"]["audit"]["findings"][0]["state"] == "passes"  # the run's own test
    text = (run / "scores.txt").read_text()
    assert "car, mean" in text
    assert f"Audit of car: flagged, identical audio: {finding['shared']} of the 6 recordings" in text
    assert "car: WavPairs, 6 recordings, split protocol all" in text
    assert card["scores"]["rest/snr_db"] == card["scores"]["test/snr_db"]
    assert "car/snr_db" in card["headlines"]


@pytest.mark.usefixtures("pairs")
def test_what_a_parent_has_heard_of_a_set_counts(train: Train) -> None:
    parent = train(*FAST, "data.root=other")
    heard = read_card(parent)["data"]["recordings"]
    child = train(*FAST, f"init.from={parent}", "++test_sets.car.root=other")
    (finding,) = [
        f for f in read_card(child)["test_sets"]["car"]["audit"]["findings"] if f["check"] == "identical audio"
    ]
    assert (finding["state"], finding["of"]) == ("flagged", 6)
    assert finding["shared"] >= heard["train"] + heard["val"]


def test_what_a_parent_without_a_list_has_heard_of_a_set_is_not_known(train: Train, pairs: Path) -> None:
    parent = train(*FAST)
    for name in ("best", "last"):
        content = read_checkpoint(parent / "checkpoints" / f"{name}.ckpt")
        write_checkpoint({**content, "speechml": {**content["speechml"], "heard": []}}, pairs / f"{name}.ckpt")
    make_pairs(pairs / "third", 3, seconds=1.3)
    child = train(*FAST, f"init.from={pairs / 'best.ckpt'}", "seed=1", "++test_sets.car.root=third")
    (finding,) = [
        f for f in read_card(child)["test_sets"]["car"]["audit"]["findings"] if f["check"] == "identical audio"
    ]
    assert finding["state"] == "unknown"


def test_a_run_that_is_done_is_scored_on_new_sets_without_training(train: Train, pairs: Path) -> None:
    run = train(*FAST, "++test_sets.car.root=other")
    before, weights = read_card(run), (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert train(*FAST, "++test_sets.car.root=other") == run
    assert read_card(run) == before
    make_pairs(pairs / "third", 3)
    train(*FAST, "++test_sets.third.root=third")
    after = read_card(run)
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == weights
    assert {k: v for k, v in after["scores"].items() if not k.startswith("third/")} == before["scores"]
    assert sorted(after["test_sets"]) == ["car", "third"]
    assert {"test_sets/car.npz", "test_sets/third.npz"} <= after["files"].keys()


def test_a_set_whose_recordings_have_changed_is_scored_again(train: Train, pairs: Path) -> None:
    run = train(*FAST, "++test_sets.car.root=other")
    before = read_card(run)["scores"]["car/snr_db"]
    for side in ("noisy", "clean"):
        (pairs / "other" / side / "item3.wav").unlink()
    train(*FAST, "++test_sets.car.root=other")
    assert read_card(run)["test_sets"]["car"]["data"]["recordings"]["test"] == 5
    assert read_card(run)["scores"]["car/snr_db"] != before


@pytest.mark.usefixtures("pairs")
def test_the_page_and_comparisons_know_of_sets(train: Train) -> None:
    runs = [train(*FAST, "++test_sets.car.root=other", f"seed={seed}") for seed in (0, 1)]
    write_run_report(runs[0])
    assert "car, mean" in (runs[0] / "report.html").read_text()
    notes = compare_runs(runs).notes
    assert any("car" in note and "not compared" in note for note in notes)


def test_a_run_on_mixtures_is_scored_on_real_pairs(train: Train, workplace: Path) -> None:
    folders = mixed_folders(workplace)
    make_pairs(workplace / "real", 3)
    words = [*FAST, "data=mixed_pairs", *(f"data.{key}={place}" for key, place in folders.items())]
    words = [word for word in words if word not in ("data=wav_pairs", "data.root=pairs")]
    run = train(*words, "++test_sets.real={target: speechml.data.WavPairs, root: real}")
    real = read_card(run)["test_sets"]["real"]
    assert (real["data"]["data"], real["data"]["recordings"]["test"]) == ("WavPairs", 3)
    findings = {one["check"]: one["state"] for one in real["audit"]["findings"]}
    assert findings == {"identical audio": "passes", "speakers": "unknown"}  # item0.wav says nothing of its speaker


def test_words_that_a_run_does_not_know_are_left_out_of_a_set(train: Train, workplace: Path) -> None:
    make_words(workplace / "words", ("high", "low"))
    make_words(workplace / "more", ("high", "low", "middle"), speakers=3)
    run = train(
        "experiment=words_tuned", "data.root=words", "model.net.width=8", "trainer.precision=32", "data.batch_size=16",
        "trainer.max_epochs=1", "trainer.max_steps=-1", "callbacks.figures=null", "report=false", "++test_sets.more.root=more",
    )  # fmt: skip
    card = read_card(run)
    assert card["test_sets"]["more"]["data"]["classes"] == ["high", "low"]
    assert card["test_sets"]["more"]["scored"] == 6
    speakers = [one for one in card["test_sets"]["more"]["audit"]["findings"] if one["check"] == "speakers"]
    assert speakers[0]["state"] == "flagged"  # the speakers of make_words bear the same marks in both folders
    assert "more/acc" in card["scores"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("++test_sets.val.root=other", "test_sets.val is no name for a test set"),
        ("++test_sets.car.root=nowhere", "test_sets.car: .*nowhere is no folder"),
        ("++test_sets.car.roof=other", "test_sets.car: there is no key data.roof"),
        ("++test_sets.car={root: other, sample_rate: 8000}", "test_sets.car: it is at 8000 Hz and the run at 16000 Hz"),
        ("++test_sets.car=5", "test_sets"),
    ],
)
def test_a_set_that_cannot_be_scored_is_refused_before_there_is_a_run(
    word: str, says: str, train: Train, pairs: Path
) -> None:
    with pytest.raises(UserError, match=says):
        train(*FAST, word)
    assert not (pairs / "runs").exists()


@pytest.mark.usefixtures("pairs")
def test_an_older_card_has_no_sets_and_a_damaged_one_is_refused(train: Train) -> None:
    run = train(*FAST)
    assert "test_sets" not in read_card(run)
    for damaged in (5, {"car": 5}, {"car": {"audit": None}}):
        edit_card(run, test_sets=damaged)
        with pytest.raises(UserError, match="damaged"):
            train(*FAST, "++test_sets.car.root=other")
