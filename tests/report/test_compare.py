"""Comparisons say by how much runs differ and whether it may be chance, and refuse what does not compare."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from conftest import speechml
from made_up import make_run
from speechml.report.compare import Comparison, Line, compare_runs
from speechml.report.comparison_table import format_comparison

RANDOM = np.random.default_rng(0)
HARD = RANDOM.normal(10, 5, 80)  # recordings differ more among one another than networks do


def line_of(comparison: Comparison, score: str = "snr_db") -> Line:
    """The line of a score of the second setting."""
    return next(line for line in comparison.lines if line.score == score and line.verdict)


def test_a_small_difference_on_the_same_recordings_is_found(workplace: Path) -> None:
    one = make_run(workplace / "runs", snr=HARD)
    other = make_run(workplace / "runs", snr=HARD + 0.5 + RANDOM.normal(0, 0.5, 80), lr=0.2)
    found = compare_runs([one, other])
    line = line_of(found, "snr_db")
    assert line.over_items.mean == pytest.approx(line.mean.mean - found.lines[0].mean.mean)
    assert line.over_items.low < 0.5 < line.over_items.high < 1
    assert line.over_items.p < 0.001
    assert line.verdict == "better"
    assert line_of(found, "mse").verdict == "worse"  # less is better
    assert [setting.label for setting in found.settings] == ["lr=0.1", "lr=0.2"]


def test_chance_is_not_called_a_difference(workplace: Path) -> None:
    runs = [make_run(workplace / "runs", snr=HARD + RANDOM.normal(0, 0.5, 80), lr=lr) for lr in (0.1, 0.2)]
    assert {line.verdict for line in compare_runs(runs).lines if line.verdict} == {"no difference shown"}


def test_runs_that_differ_by_seed_only_are_one_setting_with_a_mean_and_its_interval(workplace: Path) -> None:
    shifts = {0.1: (0.0, 0.4, -0.4), 0.2: (2.0, 2.5, 1.5)}
    runs = [make_run(workplace / "runs", seed=seed, snr=HARD + shift, lr=lr)
            for lr, values in shifts.items() for seed, shift in enumerate(values)]  # fmt: skip
    found = compare_runs(runs)
    first, second = (line for line in found.lines if line.score == "snr_db")
    assert [setting.seeds for setting in found.settings] == [[0, 1, 2], [0, 1, 2]]
    assert first.mean.mean == pytest.approx(HARD.mean())
    half = 4.302653 * 0.4 / 3**0.5  # Student's t of 2 degrees of freedom, times the standard error
    assert (first.mean.low, first.mean.high) == pytest.approx((HARD.mean() - half, HARD.mean() + half), rel=1e-5)
    assert second.over_seeds.mean == pytest.approx(2.0)
    assert second.verdict == "better"


def test_two_seeds_that_disagree_keep_a_difference_from_being_called_one(workplace: Path) -> None:
    shifts = {0.1: (0.0, 0.0), 0.2: (3.0, 0.1)}
    runs = [make_run(workplace / "runs", seed=seed, snr=HARD + shift, lr=lr)
            for lr, values in shifts.items() for seed, shift in enumerate(values)]  # fmt: skip
    line = line_of(compare_runs(runs))
    assert line.over_items.low > 0  # these very runs differ ...
    assert line.verdict == "no difference shown"  # ... but the next seeds may not


def classifier(runs: Path, right: np.ndarray, classes: tuple[str, ...] = ("no", "yes", "stop"), **options) -> Path:
    label = np.arange(len(right)) % 3
    named = np.where(right, label, (label + 1) % 3)
    order = [("no", "yes", "stop").index(name) for name in classes if name in ("no", "yes", "stop")]
    if len(order) == 3:
        label, logits = np.argsort(order)[label], 4.0 * np.eye(3)[named][:, order]
    else:
        logits = 4.0 * np.eye(3)[named]
    return make_run(runs, logits=logits, label=label, classes=classes, **options)


def test_classifiers_are_compared_by_mcnemars_test_whatever_the_order_of_their_classes(workplace: Path) -> None:
    one, other = np.ones(100, bool), np.ones(100, bool)
    one[:20], other[15:25] = False, False  # 15 only the second names rightly, 5 only the first
    runs = [classifier(workplace / "runs", one), classifier(workplace / "runs", other, ("stop", "no", "yes"), lr=0.2)]
    found = {line.score: line for line in compare_runs(runs).lines if line.verdict}
    assert found["acc"].over_items.mean == pytest.approx(0.1)
    assert found["acc"].over_items.p == pytest.approx(0.0413895)  # 2 * P(X <= 5), X binomial of 20 and 1/2
    assert found["acc"].over_items.low < 0.1 < found["acc"].over_items.high
    assert found["macro_f1"].over_items.mean == pytest.approx(0.1, abs=0.01)


def test_five_items_are_no_difference_though_all_five_favour_one(workplace: Path) -> None:
    one = np.ones(100, bool)
    one[:5] = False
    runs = [classifier(workplace / "runs", one), classifier(workplace / "runs", np.ones(100, bool), lr=0.2)]
    line = line_of(compare_runs(runs), "acc")
    assert line.over_items.p == pytest.approx(2 * 0.5**5)
    assert line.verdict == "no difference shown"


def test_what_is_compared_is_what_all_have_scored(workplace: Path) -> None:
    names = [f"item{i:04d}" for i in range(80)]
    whole = [make_run(workplace / "runs", seed=seed, snr=HARD + seed) for seed in (0, 1)]
    part = [make_run(workplace / "runs", seed=seed, snr=HARD[:40] + seed, names=names[:40], lr=0.2) for seed in (0, 1)]
    found = compare_runs([*whole, *part])
    assert len(found.first.names) == 40
    line = line_of(found, "snr_db")
    assert line.over_items.mean == pytest.approx(0)
    assert line.over_seeds.mean == pytest.approx(0)  # the cards' means are of other items
    assert any("only the 40 test recordings" in note for note in found.notes)


def test_items_on_which_a_score_is_not_defined_are_left_out_and_told(workplace: Path) -> None:
    silent = HARD.copy()
    silent[3] = np.nan
    found = compare_runs([make_run(workplace / "runs", snr=silent), make_run(workplace / "runs", snr=HARD + 1, lr=0.2)])
    line = line_of(found, "snr_db")
    assert line.over_items.units == 79
    assert line.over_items.mean == pytest.approx(1)
    assert any("SNR (dB): 1 recordings" in note for note in found.notes)


def test_other_networks_have_short_names(workplace: Path) -> None:
    nets = (
        {"_target_": "speechml.models.FIR", "taps": 9},
        {"_target_": "speechml.models.MIMOCNN", "features": [1, 5, 1], "taps": 9},
    )
    runs = [make_run(workplace / "runs", snr=HARD, net=net) for net in nets]
    assert [setting.label for setting in compare_runs(runs).settings] == ["net=FIR", "net=MIMOCNN"]


def test_rows_of_a_song_count_as_one_song(workplace: Path) -> None:
    names = [f"song{block % 12}/{channel}/{block:04d}" for block in range(60) for channel in (0, 1)]
    right = np.repeat(np.arange(60) % 12 > 5, 2)  # all of a song, or nothing
    data = {"data": "GenreFeatures", "called": "rows"}
    runs = [classifier(workplace / "runs", right, names=names, data=data),
            classifier(workplace / "runs", np.ones(120, bool), names=names, data=data, lr=0.2)]  # fmt: skip
    found = compare_runs(runs)
    assert line_of(found, "acc").over_items.units == 12
    assert line_of(found, "acc").over_items.p == pytest.approx(2 * 0.5**6)
    assert "120 rows of 12 songs" in format_comparison(found, "table")


def clips(speakers: int, each: int) -> list[str]:
    return [f"yes/{speaker:08x}_nohash_{clip}.wav" for speaker in range(speakers) for clip in range(each)]


@pytest.mark.parametrize("kept", ["in the names", "in a column"])
def test_clips_of_a_speaker_are_no_further_evidence(workplace: Path, kept: str) -> None:
    right = np.ones(200, bool)
    right[:20] = False  # one speaker of ten, all of whose clips only the second names rightly
    column = {"speaker": np.repeat([f"s{i}" for i in range(10)], 20)} if kept == "in a column" else {}
    names = clips(10, 20) if kept == "in the names" else None
    runs = [classifier(workplace / "runs", wrong, names=names, columns=column, lr=lr)
            for wrong, lr in ((right, 0.1), (np.ones(200, bool), 0.2))]  # fmt: skip
    found = compare_runs(runs)
    line = line_of(found, "acc")
    assert (line.over_items.units, line.over_items.p, line.verdict) == (10, 1.0, "no difference shown")
    assert line.over_items.mean == pytest.approx(0.1)
    alone = [classifier(workplace / "runs", wrong, lr=lr) for wrong, lr in ((right, 0.3), (np.ones(200, bool), 0.4))]
    assert line_of(compare_runs(alone), "acc").verdict == "better"  # as if they were 200 people
    assert "200 recordings by 10 speakers" in format_comparison(found, "markdown")
    assert "speakers unknown: taken as independent" in format_comparison(compare_runs(alone), "markdown")


def test_recordings_of_a_speaker_are_drawn_together(workplace: Path) -> None:
    random = np.random.default_rng(1)
    names = [f"p{225 + speaker}_{clip:03d}" for speaker in range(20) for clip in range(20)]
    gain = np.repeat(random.normal(0.3, 1.0, 20), 20)  # what a speaker gains, all of whose recordings gain the same
    runs = [make_run(workplace / "runs", snr=np.full(400, 9.0) + shift, names=names, lr=lr)
            for shift, lr in ((0, 0.1), (gain, 0.2))]  # fmt: skip
    line = line_of(compare_runs(runs))
    means = gain.reshape(20, 20).mean(1)
    half = 2.093024 * means.std(ddof=1) / 20**0.5  # Student's t of 19 degrees of freedom, times the standard error
    assert line.over_items.mean == pytest.approx(gain.mean())
    assert (line.over_items.high - line.over_items.low) / 2 == pytest.approx(half, rel=0.15)
    forced = [make_run(workplace / "runs", snr=np.full(400, 9.0) + shift, names=names, lr=lr, data={"test_fingerprint": f"{lr}"})
              for shift, lr in ((gain, 0.3), (gain, 0.4))]  # fmt: skip
    apart = line_of(compare_runs(forced, force=True)).over_items
    assert apart.units == 20
    assert (apart.high - apart.low) / 2 == pytest.approx(half * 2**0.5, rel=0.05)


def test_one_speaker_tells_no_difference(workplace: Path) -> None:
    names = [f"p225_{clip:03d}" for clip in range(80)]
    found = compare_runs([make_run(workplace / "runs", snr=HARD + lr, names=names, lr=lr) for lr in (0.1, 0.9)])
    assert line_of(found).verdict == "not known"
    assert any("all test recordings are of one speaker" in note for note in found.notes)


def test_better_of_two_that_are_worse_than_their_input_says_so(workplace: Path) -> None:
    deep = HARD - 60  # the input has 1 dB
    found = compare_runs([make_run(workplace / "runs", snr=deep + lr, lr=lr) for lr in (1.0, 9.0)])
    assert line_of(found).verdict == "better, but neither is better than its noisy input"
    assert sum("no better than the noisy input (1.00 dB SNR)" in note for note in found.notes) == 2
    one_is = compare_runs([make_run(workplace / "runs", snr=snr, lr=lr) for snr, lr in ((deep, 0.3), (HARD, 0.4))])
    assert line_of(one_is).verdict == "better"
    assert sum("no better than the noisy input" in note for note in one_is.notes) == 1


def test_better_of_two_that_guess_says_so(workplace: Path) -> None:
    guesses, worse = np.arange(300) % 3 == 0, np.arange(300) % 9 == 0
    found = compare_runs([classifier(workplace / "runs", right, lr=lr) for right, lr in ((worse, 0.1), (guesses, 0.2))])
    assert line_of(found, "acc").verdict.startswith("better, but neither is much better than chance")
    assert any("no better than chance, which is 0.333" in note for note in found.notes)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert speechml(monkeypatch, "compare", *map(str, words)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("error: ")
    return told.err


def test_what_does_not_compare_is_one_sentence(workplace: Path, monkeypatch, capsys) -> None:
    runs = workplace / "runs"
    good, other = make_run(runs, snr=HARD), make_run(runs, snr=HARD, lr=0.2)
    (workplace / "link").symlink_to(good)
    for words, told in (
        ([good], "one run compares with nothing"),
        ([good, good], "given twice"),
        ([good, workplace / "link"], "given twice"),
        ([good, workplace / "nowhere"], "there is no such folder"),
        ([good, runs], "no card.json"),
        ([good, runs / "made_up"], "a folder of runs"),
        ([good, make_run(runs)], "no predictions.npz"),
        ([good, make_run(runs, snr=HARD, state="stopped")], "not done but stopped"),
        ([good, make_run(runs, snr=HARD, data={"test_fingerprint": "cc"})], "different test sets (aa and cc); --force"),
        ([good, make_run(runs, snr=HARD, data={"protocol": "random"})], "different split protocols (speaker and random)"),
        ([good, classifier(runs, np.ones(9, bool))], "one classifies, the other denoises"),
        ([classifier(runs, np.ones(9, bool)), classifier(runs, np.ones(9, bool), ("no", "yes", "go"))], "the classes go, stop"),
        ([good, make_run(runs, snr=HARD, names=[f"x{i}" for i in range(80)])], "no test item in common"),
        ([good, other, "--format", "html"], "--format is html"),
    ):  # fmt: skip
        assert told in refused(monkeypatch, capsys, *words), words
    for rubbish in (b"PK rubbish", b"", (other / "predictions.npz").read_bytes()[:500]):
        (good / "predictions.npz").write_bytes(rubbish)
        assert "predictions.npz is damaged" in refused(monkeypatch, capsys, good, other)
    for columns in (
        {"logits": np.eye(3), "label": np.arange(3)},
        {"logits": np.eye(3), "label": np.arange(2), "classes": ["a", "b", "c"]},
    ):
        np.savez(good / "predictions.npz", name=["x", "y", "z"], **columns)
        assert "predictions.npz is damaged" in refused(monkeypatch, capsys, good, other)
    np.savez(good / "predictions.npz", name=np.array([], str), snr_db=np.array([]))
    assert "holds no test item" in refused(monkeypatch, capsys, good, other)
    third = make_run(runs, snr=HARD)
    (third / "config.yaml").write_text("[" * 200_000)
    assert "config.yaml cannot be read" in refused(monkeypatch, capsys, other, third)
    assert "it is a file" in refused(monkeypatch, capsys, other, third / "card.json")


def test_forced_runs_of_different_tests_are_compared_as_unpaired(workplace: Path, monkeypatch, capsys) -> None:
    one = make_run(workplace / "runs", snr=HARD)
    other = make_run(workplace / "runs", snr=HARD[:50] + 1, lr=0.2, data={"test_fingerprint": "cc"})
    assert speechml(monkeypatch, "compare", str(one), str(other), "--force") == 0
    told = capsys.readouterr().out
    assert "FORCED" in told
    assert "Welch" in told
    line = line_of(compare_runs([one, other], force=True))
    assert line.verdict == "no difference shown"  # as recordings differ more than the networks


def test_forced_classifiers_with_equally_many_right_of_each_song_do_not_differ(workplace: Path) -> None:
    songs, right = {"song": np.array(["a", "a", "b", "b"])}, np.array([True, False, True, False])
    runs = [
        classifier(workplace / "runs", right, columns=songs, lr=lr, data={"test_fingerprint": f"{lr}"})
        for lr in (0.1, 0.2)
    ]
    assert line_of(compare_runs(runs, force=True), "acc").verdict == "no difference shown"


def test_the_method_is_said_of_each_score_and_where_there_is_an_interval(workplace: Path) -> None:
    names = [f"song{block % 4}/0/{block:04d}" for block in range(60)]
    runs = [classifier(workplace / "runs", np.arange(60) % each > 0, seed=each, names=names, lr=lr)
            for each, lr in ((2, 0.1), (3, 0.1), (3, 0.2))]  # fmt: skip
    told = format_comparison(compare_runs([runs[0], runs[2]]), "table")
    assert (
        "of macro F1 paired bootstrap (somewhat narrow); of loss Student's t (they count as 4 of equal size)." in told
    )
    assert "Intervals over songs" not in format_comparison(compare_runs(runs[:2]), "table")  # one setting
    many = [classifier(workplace / "runs", np.arange(845) % each > 0, lr=each) for each in (3, 4)]
    assert "of loss Student's t." in format_comparison(compare_runs(many), "table")


def test_what_no_interval_tells_is_not_known(workplace: Path) -> None:
    one = classifier(workplace / "runs", np.arange(30) % 4 > 0)
    other = classifier(workplace / "runs", np.arange(30) % 3 > 0, lr=0.2, data={"test_fingerprint": "cc"})
    found = compare_runs([one, other], force=True)
    assert [line.verdict for line in found.lines if line.score == "macro_f1"] == ["", "not known"]
    runs = [
        make_run(workplace / "runs", snr=np.where(np.arange(2) == silent, np.nan, 1.0), lr=1 + silent)
        for silent in (0, 1)
    ]
    assert {line.verdict for line in compare_runs(runs).lines[1::2]} == {"not known"}


def test_every_format_says_the_same(workplace: Path, monkeypatch, capsys) -> None:
    runs = [str(make_run(workplace / "runs", snr=HARD + shift, lr=shift, **{"a|b": "<b>"})) for shift in (0.0, 1.0)]
    texts = {}
    for form in ("table", "markdown", "csv", "json"):
        assert speechml(monkeypatch, "compare", *runs, "--format", form) == 0
        texts[form] = capsys.readouterr().out
    rows = json.loads(texts["json"])["rows"]
    kept = [row for row in csv.DictReader(io.StringIO(texts["csv"])) if row["kind"] == "setting"]
    assert [row["score"] for row in kept] == [row["score"] for row in rows]
    assert rows[1]["difference_over_items"] == pytest.approx(1.0)
    assert rows[1]["p_over_seeds"] is None
    assert "+1.00" in texts["table"]
    assert "+1.00" in texts["markdown"]
    assert len({line.count("|") for line in texts["markdown"].splitlines() if line.startswith("|")}) == 1
