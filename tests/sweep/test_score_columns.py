"""Tables of runs show the validation score first and sort by it; the test score stands behind it, and is marked."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import edit_card, read_card
from made_up import make_run
from speechml.report.comparison_groups import compare_groups
from speechml.runs.card import load_card
from speechml.runs.catalogue import format_list
from speechml.runs.choosing import OF_SEARCH, validation_score
from speechml.runs.sweep_record import SweepRun
from speechml.sweep.status import row_of, status_report, status_table

SNR = np.arange(20.0)


def make_denoisers(runs: Path) -> list[Path]:
    """Three, of which the second is the best by validation, the third by the test, and the first worse than its input."""
    folders = []
    for lr, shift, val in ((0.1, -99.0, -2.0), (0.2, 3.0, 8.0), (0.3, 5.0, 7.5)):
        folder = make_run(runs, snr=SNR + shift, lr=lr)
        words = ["experiment=made_up", f"optimizer.lr={lr}", "trainer.max_epochs=3"]
        edit_card(
            folder, scores={**read_card(folder)["scores"], "val/snr_db": val, "val/loss": 1 / lr}, overrides=words
        )
        folders.append(folder)
    return folders


def cells(text: str) -> list[list[str]]:
    """The rows of a table, header first."""
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.partition("\n\n")[0].splitlines()
    ]


def test_a_sweep_is_sorted_by_validation_and_its_test_marked(workplace: Path) -> None:
    folders = make_denoisers(workplace / "runs")
    missing = SweepRun(workplace / "runs" / "made_up" / "later", label="lr=0.4")
    text = status_table([missing, *(SweepRun(folder, label=folder.name) for folder in folders)])
    header, _, *rows = cells(text)
    assert header == ["experiment", "id", "state", "val/snr_db", "test/snr_db (test)", "time", "overrides"]
    assert [row[1] for row in rows] == [folders[1].name, folders[2].name, folders[0].name, "later"]
    assert [row[3:5] for row in rows[:2]] == [["8.00", "12.50"], ["7.50", "14.50"]]
    assert "The best by val/snr_db first: choose by it" in text
    assert "SNR of references (test set): noisy input 1.00 dB." in text


def test_a_loss_that_is_the_objective_is_sorted_the_other_way(workplace: Path) -> None:
    folders = make_denoisers(workplace / "runs")
    for folder in folders:
        edit_card(folder, objective="val/loss")
    header, _, *rows = cells(status_table([SweepRun(folder) for folder in folders]))
    assert header[3] == "val/loss"
    assert [row[1] for row in rows] == [folder.name for folder in folders[::-1]]


def test_the_runs_of_a_search_are_sorted_by_what_it_searched_for(workplace: Path) -> None:
    folders = make_denoisers(workplace / "runs")
    search = workplace / "runs" / ".sweeps" / "made_up" / "x"
    search.mkdir(parents=True)
    trials = [{"runs": [str(folder)]} for folder in folders]
    (search / "sweep.json").write_text(json.dumps({"objective": "val/loss", "trials": trials}))
    header, _, *rows = cells(status_report(search))
    assert header[3] == "val/loss"
    assert [row[1] for row in rows] == [folder.name for folder in folders[::-1]]


def test_runs_that_are_worth_nothing_are_marked_and_it_is_said_why(workplace: Path) -> None:
    folders = make_denoisers(workplace / "runs")
    edit_card(folders[2], warnings=["val/loss rose from 1 in the first epoch to 9 in the last; lower optimizer.lr"])
    text = status_table([SweepRun(folder) for folder in folders])
    assert [row[2] for row in cells(text)[2:]] == ["done", "done !", "done !"]
    assert "! 1 of 3 runs: no better than the noisy input (1.00 dB SNR)" in text
    assert "! 1 of 3 runs: diverged: its loss rose" in text
    listed = format_list(workplace / "runs", None, "table")
    states = {row[1]: row[2] for row in cells(listed)[2:] if row[0] == "made_up"}
    assert states == dict(
        zip([one.name for one in folders], ["done", "done", "done !"], strict=True)
    )  # as the cards say
    assert "! 1 with warnings" in listed


def test_chance_and_the_most_frequent_class_stand_below_a_sweep_of_classifiers(workplace: Path) -> None:
    label = np.array([0, 0, 0, 1, 2] * 8)
    folder = make_run(workplace / "runs", logits=np.eye(3)[label], label=label, data={"classes": ["no", "yes", "stop"]})
    assert "chance has an accuracy of 0.3333 (1 of 3 classes), always answering no of 0.6." in status_table(
        [SweepRun(folder)]
    )


def test_the_list_shows_what_was_typed_and_nothing_that_a_search_adds(workplace: Path) -> None:
    folders = make_denoisers(workplace / "runs")
    edit_card(
        folders[0], overrides=[*OF_SEARCH, "experiment=made_up", "trainer.max_epochs=3", "optimizer.lr=0.0123456789"]
    )
    text = format_list(workplace / "runs", None, "table")
    header, _, *rows = cells(text)
    assert header == ["experiment", "id", "state", "started", "epochs", "val/snr_db", "test/snr_db (test)", "overrides"]
    validations = [float(row[5]) for row in rows if row[0] == "made_up"]
    assert len(validations) == 3
    assert validations == sorted(validations, reverse=True)
    assert next(row for row in rows if row[1] == folders[0].name) == [
        "made_up",
        folders[0].name,
        "done",
        "2026-01-01 00:00",
        "3",
        "-2.00",
        "-89.50",
        "optimizer.lr=0.01235",
    ]
    assert "All with: trainer.max_epochs=3" in text
    lines = {line["id"]: line for line in json.loads(format_list(workplace / "runs", None, "json"))}
    line = lines[folders[0].name]
    assert line["overrides"] == "experiment=made_up trainer.max_epochs=3 optimizer.lr=0.0123456789"
    assert (line["validation_name"], line["validation"], line["score_name"]) == ("val/snr_db", -2.0, "test/snr_db")


@pytest.mark.parametrize(
    ("scores", "headlines", "objective", "name"),
    [
        ({"val/acc": 0.5, "val/loss": 1.0, "test/acc": 0.4}, ["val/loss"], None, "val/acc"),
        ({"val/acc": 0.5, "val/loss": 1.0, "test/acc": 0.4}, [], "val/loss", "val/loss"),
        ({"val/acc": 0.5, "test/acc": 0.4}, [], "test/acc", "val/acc"),  # never by a test
        ({"val/own": 0.5, "val/loss": 1.0, "test/own": 0.4}, ["val/own"], None, "val/own"),
        ({"val/own": 0.5, "test/own": 0.4}, None, None, "val/own"),
        ({"val/acc": None, "val/loss": 1.0, "test/acc": 0.4}, [], None, "val/loss"),
        ({"test/acc": 0.4}, [], None, None),
    ],
)
def test_a_run_is_chosen_by_its_objective_or_by_the_twin_of_its_headline(
    scores, headlines, objective, name, workplace: Path
) -> None:
    folder = make_run(workplace / "runs")
    edit_card(folder, scores=scores, headlines=headlines, objective=objective)
    chosen = validation_score(load_card(folder))
    assert (chosen and chosen.name) == name


def test_a_line_of_a_run_that_ends_has_validation_first(workplace: Path) -> None:
    folder = make_denoisers(workplace / "runs")[1]
    assert row_of(SweepRun(folder)).scores == "val/snr_db 8.00 (test/snr_db 12.50)"


def test_limits_that_differ_among_runs_stand_below_a_sweep_with_both_ends(workplace: Path) -> None:
    folders = make_denoisers(workplace / "runs")
    for folder, limit in zip(folders, (15.29, 31.12, 29.64), strict=False):
        edit_card(folder, scores={**read_card(folder)["scores"], "test/snr_wiener_db": limit})
    text = status_table([SweepRun(folder) for folder in folders])
    assert "Wiener filter 15.29 to 31.12 dB" in text


def test_the_folder_of_a_sweep_stands_for_its_runs_in_a_comparison(workplace: Path) -> None:
    folders = make_denoisers(workplace / "runs")
    sweep = workplace / "runs" / ".sweeps" / "lab2a_fir" / "0"
    sweep.mkdir(parents=True)
    runs = [
        {"folder": str(folder), "overrides": [], "swept": {}}
        for folder in [*folders, workplace / "runs" / "not" / "begun"]
    ]
    (sweep / "sweep.json").write_text(json.dumps({"runs": runs}))
    groups = compare_groups([sweep, folders[0]]).groups
    assert {run.folder for one in groups for setting in one.settings for run in setting.runs} == set(folders)
