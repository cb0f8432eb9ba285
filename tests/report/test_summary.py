"""The tables of scores: what stands in them, and that a run's own metrics are among them."""

from pathlib import Path

import numpy as np
import pytest

from speechml.errors import UserError
from speechml.report.audit import Audit, Finding
from speechml.report.evaluation import evaluation_text
from speechml.report.published import figure_rows
from speechml.report.run_page import run_headline
from speechml.report.summary import is_published_data, run_facts, score_tables
from speechml.runs.card import DataCard, PublishedCard, RunCard
from speechml.runs.predictions import load_predictions

WAVEFORM = {f"test/{name}": 1.0 for name in ("snr_db", "snr_input_db", "snr_gain_db", "loss", "undefined")}


def data_card(**keys: object) -> DataCard:
    content = {
        "data": "MadeUp", "protocol": "speaker", "fingerprint": "f", "test_fingerprint": "t", "called": "clips",
        "recordings": {"train": 6, "val": 2, "test": 2}, **keys,
    }  # fmt: skip
    return DataCard.from_json(content, "data")


@pytest.mark.parametrize(
    ("scores", "rows"),
    [
        ({**WAVEFORM, "test/dnsmos": 3.0}, [["SNR (dB)", "1.00", "1.00"], ["dnsmos", "-", "3"]]),
        (
            {"test/acc": 0.5, "test/macro_f1": 0.4, "test/loss": 1.0, "test/recall_yes": 0.5, "test/auroc": 0.9},
            [["accuracy", "0.5"], ["macro F1", "0.4"], ["loss (cross entropy)", "1"], ["auroc", "0.9"]],
        ),
        ({"test/something": 2.0, "val/loss": 1.0}, [["test/something", "2"]]),
        ({"val/loss": 1.0}, None),
    ],
    ids=["denoiser", "classifier", "another task", "no test"],
)
def test_a_runs_own_metrics_are_the_last_rows(scores: dict[str, float], rows: list[list[str]] | None, tmp_path) -> None:
    tables = score_tables(scores, data_card(), tmp_path / "predictions.npz")
    assert [table.rows for table in tables] == ([] if rows is None else [rows])


def test_published_figures_stand_beside_scores_of_such_data_only() -> None:
    of = {"data": "MadeUp", "protocol": "speaker", "least": 10, "classes": 2}
    published = PublishedCard("a paper", of=of, scores={"test/acc": 0.9})
    assert is_published_data(published, data_card(classes=["no", "yes"]), "test/acc")
    others = ({"data": "Other"}, {"protocol": "random"}, {"classes": ["no"]}, {"recordings": {"train": 6, "test": 2}})
    for other in others:
        assert not is_published_data(published, data_card(**{"classes": ["no", "yes"], **other}), "test/acc")
    card = RunCard("1", "x", "done", data_card(), published=published, scores={"test/acc": 0.5})
    assert "  test/acc: 0.9 published for other data or another split, 0.5 here" in run_facts(card)


@pytest.mark.parametrize(("protocol", "same"), [("random", True), ("as_published", True), ("time", False)])
def test_a_figure_of_training_data_is_of_all_of_a_recording(protocol: str, same: bool) -> None:
    of, scores = {"data": "MadeUp"}, {"train/mse": 0.9, "test/mse": 0.9}
    published = PublishedCard("a paper", of=of, scores=scores, tolerance=scores)
    card = RunCard("1", "x", "done", data_card(protocol=protocol), published=published, scores=scores)
    told = " for other data or another split" * (not same)
    assert f"  train/mse: 0.9 published{told}, 0.9 here" in run_facts(card)
    verdicts = [figure.row[5] for figure in figure_rows("x", published, [card])]
    assert verdicts == ["reproduced" if same else "other data", "reproduced"]


def test_many_classes_of_the_lowest_recall_are_counted_rather_than_some_of_them_named(tmp_path: Path) -> None:
    recalls = {f"test/recall_{name}": 0.0 for name in "abcdef"} | {"test/recall_g": 0.5}
    (table,) = score_tables({"test/acc": 0.1, **recalls}, data_card(), tmp_path / "predictions.npz")
    assert table.remarks == ["Lowest recall: 0%, of 6 of 7 classes."]


def test_an_evaluation_says_how_it_relates_to_the_run(tmp_path: Path) -> None:
    card = RunCard("1", "x", "stopped", data_card(fingerprint="other", test_fingerprint="other"))
    audit = Audit((Finding("identical audio", "flagged", "1 of 2"),))
    text = evaluation_text(card, data_card(), WAVEFORM, audit, 1, tmp_path / "MadeUp-t")
    for line in (
        "Not a test: 1 of the 2 clips were used, at least in part, to train or validate the run.",
        "The run is not finished (its state is stopped).",
        "This is not the test set of the run: its own scores are not comparable with these.",
    ):
        assert line in text.splitlines()
    assert "Audit" not in text


@pytest.mark.parametrize(
    "columns",
    [
        {"name": np.arange(2)}, {"speaker": np.array([["a"], ["b"]])}, {"song": np.arange(2)}, {"snr_db": np.array(["1", "2"])},
        {"snr_db": np.ones((2, 1))}, {"snr_input_db": np.ones((2, 1))}, {"logits": np.eye(2), "label": np.zeros((2, 1), int)},
        {"logits": np.eye(2), "label": np.arange(2), "classes": np.arange(2)},
    ],
)  # fmt: skip
def test_predictions_of_a_wrong_kind_are_damaged(columns: dict[str, np.ndarray], tmp_path: Path) -> None:
    whole = {
        "name": np.array(["x", "y"]),
        "snr_db": np.ones(2),
        "classes": np.array(["a", "b"]),
        "own": np.ones((2, 3)),
    }
    np.savez(tmp_path / "predictions.npz", **whole)
    assert load_predictions(tmp_path / "predictions.npz").keys() == whole.keys()  # a user's own column may be anything
    np.savez(tmp_path / "predictions.npz", **{**whole, **columns})
    with pytest.raises(UserError, match=r"predictions.npz is damaged"):
        load_predictions(tmp_path / "predictions.npz")


@pytest.mark.parametrize(
    ("data", "protocol", "told"),
    [
        ("WavPairs", "random", True),
        ("SpokenWords", "random", False),
        ("SpokenPairs", "speaker", False),
        ("MyOwn", "x", False),
    ],
)
def test_all_of_other_data_are_advised_where_they_can_be_scored(data: str, protocol: str, told: bool, tmp_path) -> None:
    card = RunCard("1", "x", "done", data_card(fingerprint="other", test_fingerprint="other"))
    text = evaluation_text(card, data_card(data=data, protocol=protocol), WAVEFORM, Audit(()), 0, tmp_path / "x")
    assert ("data.split=all scores all of them" in text) == told


@pytest.mark.parametrize(
    ("accuracy", "scored", "number"),
    [
        (0.75, 40, "75.0%"),
        (1.0, 40, "100.0%"),
        (0.75, None, "0.75"),
        (75.0, None, "75"),
        (75.0, 40, "75"),
        (-0.5, 40, "-0.5"),
    ],
)
def test_only_a_share_of_our_own_tasks_is_headed_by_percent(accuracy: float, scored: int | None, number: str) -> None:
    card = RunCard("1", "x", "done", data_card(), scored=scored, scores={"val/loss": 0.1, "test/acc": accuracy})
    card.headlines = ["val/loss", "test/acc"]
    headline = run_headline(card, None)
    assert headline
    assert headline.number == number
    assert ("accuracy" if number.endswith("%") else "test/acc") in headline.text


def test_an_accuracy_of_another_module_on_our_data_is_in_a_plain_table(tmp_path: Path) -> None:
    scores = {"test/acc": 75.0, "test/loss": 0.5}
    (table,) = score_tables(scores, data_card(classes=["no", "yes"]), tmp_path / "predictions.npz")
    assert table.rows == [["test/acc", "75"], ["test/loss", "0.5"]]


def test_an_accuracy_of_another_module_that_is_a_share_stands_in_the_table_of_classifiers(tmp_path: Path) -> None:
    scores = {"test/acc": 0.75, "test/loss": 0.5, "train/loss": 0.4}
    (table,) = score_tables(scores, data_card(classes=["no", "yes"]), tmp_path / "predictions.npz")
    assert table.header == ["", "test set"]
    assert table.rows == [["accuracy", "0.75"], ["loss (cross entropy)", "0.5"]]
