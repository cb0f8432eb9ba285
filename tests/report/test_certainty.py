"""Below the scores of a run stands how certain they are, whose are the worst, and whether they are worth anything."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from made_up import make_run
from speechml.data.provenance import Provenance, cluster_rows, sources_of
from speechml.report.certainty import certainty_remarks, shortfall, worse_by_ear
from speechml.report.difference_statistics import share_interval
from speechml.report.published import add_intervals, figure_rows, readme_table
from speechml.report.summary import summary_text
from speechml.runs.card import PublishedCard, load_card


def known(sources: dict[str, list[str | None]], content: dict[str, list[object]] | None = None) -> Provenance:
    return Provenance(content_keys=content or {}, silent=lambda *_: False, fitted=[], sources=sources)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "columns", "told"),
    [
        (["a", "b", "c"], {}, "3 clips, speakers unknown: taken as independent"),  # older runs
        (["a", "b", "c"], {"speaker": ["", "", ""]}, "3 clips, speakers unknown: taken as independent"),
        (["a", "b", "c"], {"speaker": ["x", "x", "y"]}, "3 clips by 2 speakers"),
        (["a", "b", "c"], {"speaker": ["x", "x", ""]}, "3 clips by 1 speaker and 1 of which the speaker is unknown"),
        (["a", "b", "c"], {"song": ["x", "x", "x"]}, "3 clips of 1 song"),
        (["go/a1_nohash_0.wav", "no/a1_nohash_1.wav", "no/b_nohash_0.wav"], {}, "3 clips by 2 speakers"),
        (["p225_001", "p225_002", "p226_001"], {}, "3 clips by 2 speakers"),
        (["84-121123-0000", "84-121123-0001", "x/85-121123-0000.flac"], {}, "3 clips by 2 speakers"),
        (["p225_001", "p225_002", "mine"], {}, "3 clips by 1 speaker and 1 of which the speaker is unknown"),
        (["p225_001", "p225_002"], {"speaker": ["one", "other"]}, "2 clips by 2 speakers"),  # a column counts more
    ],
)  # fmt: skip
def test_it_is_said_whose_items_they_are(names: list[str], columns: dict[str, list[str]], told: str) -> None:
    rows = {"name": np.array(names)} | {key: np.array(column) for key, column in columns.items()}
    assert cluster_rows(rows).describe("clips") == told


@pytest.mark.parametrize(
    ("provenance", "names", "sources"),
    [
        (known({"speaker": ["x", None, "x"]}), "abc", ("speaker", ["x", "", "x"])),
        (known({"speaker": ["x", "", ""]}), ["a", "n.wav#0s", "n.wav#1s"], ("speaker", ["x", *["nobody speaks: n.wav"] * 2])),
        (known({"song": ["s", "s", "t"]}), "abc", ("song", ["s", "s", "t"])),
        (known({"speaker": [None] * 3}), "abc", ("", [""] * 3)),
        (known({"speaker": []}), "abc", ("", [""] * 3)),  # of a data module that says nothing
        (known({"speaker": [None] * 3}, {"noisy waveform": [1, 2, 3], "clean waveform": [1, 1, 2]}), "abc",
         ("recording", ["a", "a", "c"])),  # two mixtures of one recording
        (known({"speaker": [None] * 3}, {"clean waveform": [1, 2, 3]}), "abc", ("", [""] * 3)),
    ],
)  # fmt: skip
def test_what_an_item_is_a_piece_of_is_taken_from_its_data_module(provenance, names, sources) -> None:
    assert sources_of(provenance, list(names)) == sources


@pytest.mark.parametrize(
    ("scores", "classes", "chance", "told"),
    [
        ({"test/snr_db": -58.0, "test/snr_input_db": -18.45}, 0, 0, "no better than the noisy input (-18.45 dB SNR)"),
        ({"test/snr_db": 5.0, "test/snr_input_db": 5.0}, 0, 0, "no better than the noisy input (5.00 dB SNR)"),
        ({"test/snr_db": None, "test/snr_input_db": 5.0}, 0, 0, "no better than the noisy input (5.00 dB SNR)"),
        ({"test/snr_db": math.nan, "test/snr_input_db": 5.0}, 0, 0, "no better than the noisy input (5.00 dB SNR)"),
        ({"test/snr_db": 5.1, "test/snr_input_db": 5.0}, 0, 0, ""),
        ({"test/snr_db": 5.1, "test/snr_input_db": None}, 0, 0, ""),  # no input has an SNR
        ({"test/acc": 0.0879}, 30, 0, "near chance, which is 0.033"),
        ({"test/acc": 0.03}, 30, 0, "no better than chance, which is 0.033"),
        ({"test/acc": None}, 30, 0, "no better than chance, which is 0.033"),
        ({"test/acc": 0.60}, 2, 0.6, "no better than chance, which is 0.600"),  # all are given the most frequent class
        ({"test/acc": 0.2527}, 30, 0, ""),
        ({"test/loss": 0.3}, 0, 0, ""),  # a task of the user's own
        ({}, 3, 0, ""),
    ],
)  # fmt: skip
def test_what_is_worth_nothing_says_so(scores, classes: int, chance: float, told: str) -> None:
    assert shortfall(scores, "test", classes, chance) == told


def test_scores_of_a_classifier_have_an_interval_by_speaker_and_name_the_worst(workplace: Path) -> None:
    right = np.ones(200, bool)
    right[:16], right[100:103] = False, False
    label = np.arange(200) % 3
    folder = make_run(workplace / "runs", logits=4.0 * np.eye(3)[np.where(right, label, (label + 1) % 3)], label=label,
                      columns={"speaker": np.repeat([f"s{i:02d}" for i in range(20)], 10)}, data={"called": "clips"})  # fmt: skip
    expected = share_interval(right, np.repeat(np.arange(20), 10))
    text = summary_text(folder, load_card(folder))
    assert (
        f"95 % interval of the accuracy: {expected.low:.3f} to {expected.high:.3f} (200 clips by 20 speakers;" in text
    )
    assert "Worst speakers, clips wrong: s00 10 of 10, s01 6 of 10, s10 3 of 10; together 19 of 19 errors." in text
    assert not re.search("(than|near) chance", text)


def test_scores_of_a_denoiser_have_an_interval_by_speaker_and_name_the_worst(workplace: Path) -> None:
    snr = np.repeat(np.arange(12.0) + 5, 5)
    columns = {"speaker": np.repeat([f"s{i:02d}" for i in range(12)], 5)}
    folder = make_run(workplace / "runs", snr=snr, columns=columns)
    text = summary_text(folder, load_card(folder))
    assert "(60 recordings by 12 speakers; variation between seeds is not included)" in text
    assert "Worst speakers, mean SNR (recordings): s00 5.00 dB (5), s01 6.00 dB (5), s02 7.00 dB (5)." in text
    worse = make_run(workplace / "runs", snr=snr - 50, columns=columns)
    assert "The output is no better than the noisy input (1.00 dB SNR)." in summary_text(worse, load_card(worse))
    doubtful = make_run(workplace / "runs", snr=snr - 9, columns=columns)  # 1.5 dB above the input's 1 dB, of +-2
    assert "The output is not shown to be better than the noisy input." in summary_text(doubtful, load_card(doubtful))


@pytest.mark.parametrize(
    ("snr", "names", "told"),
    [
        ([3.0], None, "the test is of one item"),
        ([3.0, 4.0], ["p225_001", "p225_002"], "the test is of one speaker"),
        ([math.nan, math.nan, 1.0], None, "no two of the test items have a score"),
        ([3.0, 3.0], None, "it is the same for so few items"),
    ],
)
def test_without_an_interval_it_is_said_why(snr: list[float], names: list[str] | None, told: str) -> None:
    columns = {"snr_db": np.array(snr), "name": np.array(names or [f"x{i}" for i in range(len(snr))])}
    remarks = certainty_remarks({}, columns, "test", "recordings")
    assert [told in remark for remark in remarks] == [True], remarks


def test_scores_of_one_speaker_alone_have_no_interval() -> None:
    names = np.array(["p225_001", "p225_002", "p226_001"])
    remarks = certainty_remarks({}, {"snr_db": np.array([3.0, 4.0, math.nan]), "name": names}, "test", "recordings")
    assert remarks[0] == "No interval of the SNR: all test items with a score are of one speaker."


@pytest.mark.parametrize("score", ["acc", "snr"])
def test_items_of_unknown_speakers_hide_no_named_one(score: str) -> None:
    columns = {"name": np.array([f"x{i}" for i in range(8)]), "speaker": np.array([""] * 4 + ["s0", "s0", "s1", "s1"])}
    snr, right = np.array([0.0, 0, 0, 0, 3, 3, 9, 9]), np.array([0, 0, 0, 0, 0, 1, 1, 1])
    if score == "acc":
        columns |= {"logits": np.eye(2)[1 - right], "label": np.zeros(8, int)}
    else:
        columns |= {"snr_db": snr}
    told = (
        "Worst speakers, clips wrong: s0 1 of 2."
        if score == "acc"
        else "Speakers, mean SNR (clips): s0 3.00 dB (2), s1 9.00 dB (2)."
    )
    assert certainty_remarks({}, columns, "test", "clips")[-1].endswith(told)


@pytest.mark.parametrize(("people", "told"), [(3, "Speakers"), (4, "Worst speakers")])
def test_speakers_that_are_all_there_are_are_no_worst(people: int, told: str) -> None:
    names = {"name": np.arange(2 * people).astype(str), "speaker": np.repeat([f"s{i}" for i in range(people)], 2)}
    label = np.tile([0, 1], people)
    for columns in ({"logits": np.zeros((2 * people, 2)), "label": label}, {"snr_db": label * 1.0}):
        assert certainty_remarks({}, names | columns, "test", "clips")[-1].startswith(f"{told}, ")


def test_a_gain_that_is_the_same_for_few_items_has_no_interval() -> None:
    snr = np.array([3.0, 5.0, 8.0])
    columns = {"name": np.array(["a", "b", "c"]), "snr_db": snr, "snr_input_db": snr - 2}
    assert certainty_remarks({}, columns, "test", "clips")[0].split(" dB")[1].startswith(" (3 clips")


@pytest.mark.parametrize(
    ("scores", "classes", "warning", "told"),
    [
        (
            {"snr_db": -5.0, "snr_input_db": 1.0},
            0,
            "test: the output is 6.0 dB worse than the noisy input in SNR",
            False,
        ),
        (
            {"snr_db": -5.0, "snr_input_db": 1.0},
            0,
            "train: the output is 6.0 dB worse than the noisy input in SNR",
            True,
        ),
        ({"acc": 0.3}, 3, "test: an accuracy of 0.300 is no better than that of always answering no, 0.333", False),
        ({"acc": 0.3}, 3, "test: the output is no number beside the noisy input in SNR", True),
        (
            {"acc": 0.35},
            3,
            "test: an accuracy of 0.350 is no better than that of always answering no, 0.400",
            True,
        ),  # near
    ],
)
def test_what_a_warning_says_is_not_said_twice(scores, classes: int, warning: str, told: bool, workplace: Path) -> None:
    names = [f"{word}" for word in ("no", "yes", "go")[:classes]]
    card = load_card(make_run(workplace / "runs", data={"classes": names}))
    card.scores, card.warnings = {f"test/{name}": value for name, value in scores.items()}, [warning]
    text = summary_text(workplace, card)
    assert f"Warning: {warning}." in text
    assert bool(re.search("The (run|output) is (no better|near)", text)) == told


def test_intervals_stand_in_the_table_of_published_figures(workplace: Path) -> None:
    folder = make_run(workplace / "runs", snr=np.repeat(np.arange(20.0), 5),
                      columns={"speaker": np.repeat([f"s{i}" for i in range(20)], 5)})  # fmt: skip
    card = load_card(folder)
    add_intervals(card, folder / "predictions.npz")
    (figure,) = figure_rows("made_up", PublishedCard(), [card])
    low, high = card.intervals["test/snr_db"]["interval"]
    assert low < 9.5 < high
    assert figure.row[4] == f"9.50 ({low:.2f} to {high:.2f}, 20 speakers)"
    assert json.loads(json.dumps(card.to_json()))["intervals"]


def test_a_row_that_says_nothing_of_the_method_says_why(workplace: Path) -> None:
    published = PublishedCard(
        source="Lab", of={"data": "LabPairs"}, scores={"test/mse": 0.1}, tolerance={"test/mse": 0.01}
    )
    card = load_card(make_run(workplace / "runs", snr=np.arange(9.0) - 50))
    rows = figure_rows("made_up", published, [card])
    assert rows[0].row[4:6] == ["no comparable number", "other data; no better than the noisy input (1.00 dB SNR)"]
    assert rows[1].row[5] == "none published; no better than the noisy input (1.00 dB SNR)"
    assert "which is no reproduction: MSE, test set" in readme_table(rows)


@pytest.mark.parametrize(
    ("right", "label", "told"),
    [
        (
            [0.9],
            [0] * 90 + [1] * 10,
            "reproduced; no better than chance, which is 0.900",
        ),  # nine of ten are of one class
        ([0.95, 0.95, 0.95, 0.95, 0.5], [0, 1] * 50, "reproduced"),  # one seed does not speak for five
        ([0.5, 0.5], [0, 1] * 50, "missed; no better than chance, which is 0.500"),
    ],
)
def test_a_reproduction_knows_chance_and_goes_by_the_mean_over_seeds(right, label, told: str, workplace: Path) -> None:
    cards, label = [], np.array(label)
    for seed, share in enumerate(right):
        is_right = np.arange(100) < 100 * share
        logits = np.eye(2)[np.where(is_right, label, 1 - label)]
        folder = make_run(
            workplace / "runs", seed, logits=logits, label=label, classes=("no", "yes"), data={"classes": ["no", "yes"]}
        )
        cards.append(load_card(folder))
        add_intervals(cards[-1], folder / "predictions.npz")
    mean = float(np.mean(right)) if len(right) != 2 else 0.9
    published = PublishedCard("Lab", of={"data": "MadeUp"}, scores={"test/acc": mean}, tolerance={"test/acc": 0.01})
    assert figure_rows("made_up", published, cards)[0].row[5] == told


@pytest.mark.parametrize(
    ("speakers", "told"),
    [
        (["", "", ""], "The SNR rises in 2 of 3 clips (-1.0 to +4.0 dB)."),
        (["a", "a", "b"], "The SNR rises in 2 of 3 clips (-1.0 to +4.0 dB), and in the mean of 1 of 2 speakers."),
        (["a", "a", "a"], "The SNR rises in 2 of 3 clips (-1.0 to +4.0 dB)."),
        (["a", "", "b"], "The SNR rises in 2 of 3 clips (-1.0 to +4.0 dB), and in the mean of 1 of 2 speakers."),
        (["a", "", ""], "The SNR rises in 2 of 3 clips (-1.0 to +4.0 dB)."),
    ],
)
def test_it_is_said_how_many_items_and_speakers_gain(speakers: list[str], told: str) -> None:
    columns = {
        "snr_db": np.array([14.0, 12.0, 9.0]), "snr_input_db": np.array([10.0, 10.0, 10.0]),
        "name": np.array(["x", "y", "z"]), "speaker": np.array(speakers),
    }  # fmt: skip
    assert told in certainty_remarks({}, columns, "test", "clips")


def test_an_item_without_a_gain_is_not_counted() -> None:
    columns = {
        "snr_db": np.array([14.0, math.nan]), "snr_input_db": np.array([10.0, 10.0]), "name": np.array(["x", "y"]),
    }  # fmt: skip
    assert "The SNR rises in 1 of 1 clips (+4.0 to +4.0 dB)." in certainty_remarks({}, columns, "test", "clips")


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        ({"pesq": -0.2, "stoi": 0.1}, ["PESQ falls from 2.4 to 2.2 while the SNR rises: listen."]),
        ({"pesq": 0.2, "stoi": -0.1}, ["STOI falls from 0.8 to 0.7 while the SNR rises: listen."]),
        ({"pesq": -0.2, "stoi": -0.1}, []),  # of which the run's warnings are
        ({"pesq": 0.2, "stoi": 0.1}, []), ({}, []), ({"pesq": -0.2, "stoi": 0.1, "snr": -1.0}, []),
        ({"pesq": -0.2, "stoi": 0.1, "snr": math.nan}, []), ({"pesq": -1e-4, "stoi": 0.1}, []),
    ],
)  # fmt: skip
def test_a_score_of_hearing_that_falls_while_the_snr_rises_is_said(gains: dict[str, float], says: list[str]) -> None:
    spread = np.linspace(-0.01, 0.01, 20)  # of gains, whose mean is 0
    given = {"snr": 1.0, "pesq": 2.4, "stoi": 0.8}
    columns = {"name": np.array([f"p{i}_001" for i in range(20)])}
    for name, gain in {"snr": 5.0, **gains}.items():
        unit = "_db" * (name == "snr")
        columns |= {f"{name}_input{unit}": np.full(20, given[name]), f"{name}{unit}": given[name] + gain + spread}
    assert worse_by_ear(columns, cluster_rows(columns)) == says
