"""What charts of pages show: colours that are told apart, scales that suit, levels to compare with, and the sweep's choice."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from browser import opened
from conftest import edit_card, read_card, tone
from made_up import make_run
from speechml.callbacks.listening import write_index
from speechml.report.charts import load_metrics, loss_of, score_levels, thin_curve, training_charts
from speechml.report.drawing import COLOURS, draw_curves, is_logarithmic
from speechml.report.pages import write_report
from speechml.report.recordings import list_recordings
from speechml.report.sweep_page import log_columns, sweep_context
from speechml.runs.card import load_card
from speechml.runs.choosing import validation_score
from speechml.runs.labels import load_config

PAPER = {0: "#fdfdfc", 1: "#15181c"}
# Viénot, Brettel and Mollon (1999): what the two common kinds of colour blindness see of linear RGB.
BLIND = {
    "protan": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deutan": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    "none": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
}
NOT_DB = {"checkpoint": {"monitor": "val/loss", "mode": "min"}, "model": {"loss": "l1"}}


def linear(colour: str) -> np.ndarray:
    """Linear RGB of #rrggbb."""
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB under D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("shade", [0, 1])
def test_colours_are_told_apart_by_the_colour_blind_and_stand_out_from_the_page(shade: int) -> None:
    luminance = lambda colour: float(linear(colour) @ [0.2126, 0.7152, 0.0722])  # noqa: E731
    paper = luminance(PAPER[shade])
    for name, pair in COLOURS.items():
        light, dark = sorted((luminance(pair[shade]), paper), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, name  # WCAG 2.1, 1.4.11
    for kind, matrix in BLIND.items():
        for one, other in itertools.combinations(("train", "val", "test"), 2):
            seen = [lab(np.array(matrix) @ linear(COLOURS[name][shade])) for name in (one, other)]
            assert np.linalg.norm(seen[0] - seen[1]) > 20, (kind, one, other)


def test_nothing_in_db_and_nothing_with_a_sign_is_drawn_logarithmically() -> None:
    wide = [0.001, 1.0]
    assert [is_logarithmic(wide, what) for what in ("l1", "mse", "mr_stft", "cross entropy")] == [True] * 4
    assert [is_logarithmic(wide, what) for what in ("snr", "si_sdr", "snr_db", "pesq", "acc", "", "OwnLoss")] == [
        False
    ] * 7
    assert not is_logarithmic([0.9, 1.0], "l1")
    assert not is_logarithmic([-1.0, 1.0], "l1")
    for what, scale in (("l1", "log"), ("snr", "linear")):
        figure = draw_curves({"train/loss": [(1, 0.001), (2, 1.0)]}, f"loss ({what})", what)
        assert figure
        assert figure.axes[0].get_yscale() == scale
        assert figure.axes[0].lines[0].get_color() == COLOURS["train"][0]
    assert [loss_of({"model": {"loss": loss}}) for loss in ("snr", None, {"_target_": "x"})] == [
        "snr",
        "cross entropy",
        "",
    ]


def test_curves_of_a_denoiser_stand_beside_the_level_of_their_input_and_of_the_wiener_filter(workplace: Path) -> None:
    run = make_run(workplace / "runs", snr=np.array([4.0, 6.0]))
    (run / "metrics.csv").write_text(
        "epoch,step,train/loss,val/loss,val/snr_db,val/snr_gain_db\n0,1,-1,-2,3,1\n1,2,-3,-4,7,5\n"
    )
    (run / "config.yaml").write_text(yaml.safe_dump({"model": {"loss": "snr"}, "seed": 0}))
    edit_card(run, scores={"test/snr_db": 5.0, "test/snr_input_db": 1.0, "test/snr_wiener_db": 9.0})
    card = load_card(run)
    assert card
    levels = score_levels("snr_db", load_metrics(run), card)
    assert [(level.colour, level.value) for level in levels] == [("input", 2.0), ("reference", 9.0)]
    assert [level.name for level in levels] == ["noisy input (validation set)", "Wiener filter (test set)"]
    charts = {chart.y: chart for chart in training_charts(run, card, None)}
    assert charts["loss (snr)"].y_log is False
    assert [one.colour for one in charts["loss (snr)"].series] == ["train", "val"]
    assert charts["SNR (dB)"].levels == levels


def test_curves_of_a_classifier_stand_beside_chance_and_the_most_frequent_class(workplace: Path) -> None:
    label = np.array([0, 0, 0, 1])
    run = make_run(
        workplace / "runs", logits=np.eye(3)[label] * 1.0, label=label, data={"classes": ["no", "yes", "stop"]}
    )
    card = load_card(run)
    assert card
    columns = {"logits": np.zeros((4, 3)), "label": label}
    levels = {level.colour: level.value for level in score_levels("acc", {}, card, columns)}
    assert levels == {"input": pytest.approx(1 / 3), "reference": 0.75}


def test_long_curves_are_thinned_out_and_keep_their_ends() -> None:
    curve = [(float(epoch), float(epoch)) for epoch in range(1, 1001)]
    thin = thin_curve(curve)
    assert (len(thin) < 100, thin[0], thin[-1]) == (True, curve[0], curve[-1])
    assert thin_curve(curve[:5]) == curve[:5]


def test_the_recordings_that_gained_least_come_first_and_say_so(workplace: Path, browser: Any) -> None:
    snr = np.array([3.0, -5.0, 8.0, 1.5, np.nan])
    names = ["a", "</script><b>b", "c", "d", "e"]
    columns = {"name": np.array(names), "snr_db": snr, "snr_input_db": np.array([1.0, 1.0, 1.0, 2.0, np.nan])}
    listed = list_recordings(columns)
    assert listed
    assert [row[:4] for row in listed.rows] == [
        [names[1], "-6.00", "1.00", "-5.00"], ["d", "-0.50", "2.00", "1.50"], ["a", "2.00", "1.00", "3.00"],
        ["c", "7.00", "1.00", "8.00"],
    ]  # fmt: skip
    assert [one.points for one in listed.chart.series if one.colour == "bad"] == [
        [(1.0, -6.0), (2.0, -0.5), (1.0, 2.0)]
    ]
    assert listed.labels["d"].endswith("SNR 2.0 to 1.5 dB (-0.5 dB); the second worst of the test")
    run = make_run(workplace / "runs", snr=snr[:4], names=names[:4])
    with opened(browser, write_report(run)) as seen:
        rows = seen.page.locator("table.sortable tbody tr").all_inner_texts()
        assert rows[0].startswith("</script><b>b\t-6.00")
        assert seen.page.locator("[data-chart] circle.bad, [data-chart] .bad circle").count() == 3
        assert seen.page.locator(".headline").inner_text().endswith("test set")
        assert (seen.errors, seen.elsewhere) == ([], [])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_recordings_of_a_test_are_no_selection_of_it(count: int, workplace: Path) -> None:
    snr = np.arange(count) + 5.0
    run = make_run(workplace / "runs", snr=snr, names=[f"r{i}" for i in range(count)])
    (run / "audio").mkdir()
    versions = [
        (f"r{i}_{version}.wav", f"r{i}", version) for i in range(count) for version in ("noisy", "clean", "denoised")
    ]
    for file, _, _ in versions:
        soundfile.write(run / "audio" / file, tone(0.2), 16000)
    write_index(run / "audio", versions)
    page = re.sub(r"<(script|style).*?</\1>", "", write_report(run).read_text(), flags=re.DOTALL)
    listed = list_recordings(
        {"name": np.array([f"r{i}" for i in range(count)]), "snr_db": snr, "snr_input_db": np.ones(count)}
    )
    assert listed
    assert sum("worst of the test" in label for label in listed.labels.values()) == (3 if count > 3 else 0)
    assert ("worst" in page) == (count > 3)
    assert ("The 3 recordings that gained least in SNR come last" in page) == (count > 3)
    said = {1: "This is the recording of the test.", 4: ""}.get(count, "These are the recordings of the test.")
    assert said in page
    assert ("of the test." in page) == (count <= 3)
    assert sum(len(one.points) for one in listed.chart.series) == count


def sweep(runs: Path, losses: dict[tuple[float, int], float], tests: dict[tuple[float, int], float]) -> None:
    """Runs of (lr, seed), whose best by validation is not the best by test."""
    for (lr, seed), loss in losses.items():
        run = make_run(runs, seed=seed, snr=np.full(3, tests[lr, seed]) + np.arange(3))
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "optimizer": {"lr": lr}, **NOT_DB}))
        edit_card(
            run, scores={"test/snr_db": tests[lr, seed], "val/loss": loss}, warnings=["it rose"] if lr == 3 else []
        )


def test_a_sweep_is_sorted_by_validation_and_shows_every_seed(workplace: Path, browser: Any) -> None:
    places = list(itertools.product((1.0, 2.0, 3.0), (0, 1)))
    losses = dict(zip(places, (0.5, 0.7, 0.2, 0.4, 0.9, 0.8), strict=True))
    tests = dict(zip(places, (9.0, 9.5, 5.0, 5.5, 1.0, 1.5), strict=True))
    sweep(workplace / "runs", losses, tests)
    context = sweep_context(workplace / "runs", workplace / "report.html")
    columns, rows = context["columns"], context["rows"]
    assert columns[:4] == ["run", "state", "val/loss", "optimizer.lr"]
    assert columns.index("test/snr_db") > columns.index("seed")
    assert [float(cells[2]) for _, _, cells in rows] == sorted(losses.values())
    assert [row[:2] for row in context["spread"].rows] == [["lr=2", "2"], ["lr=1", "2"], ["lr=3", "2"]]
    assert context["spread"].rows[0][2] == f"0.3 ± {np.std([0.2, 0.4], ddof=1):.2g}"
    assert context["spread"].header[-1] == "test/snr_db (test)"
    assert context["headline"].text == "val/loss, the best by validation: lr=2, mean and standard deviation of 2 runs"
    assert context["comparison"].rows[0][1] == "lr=2"  # what others differ from is what validation chose
    with opened(browser, write_report(workplace / "runs" / "made_up"), 390) as seen:
        assert seen.page.locator("[data-spread] circle").count() == 6
        assert seen.page.locator("th.test").first.inner_text() == "test/snr_db (test)"
        assert "2 of the 6 runs have warnings" in seen.page.locator("summary").first.inner_text()
        box = seen.page.locator(".big input")
        box.fill("lr>1 seed=0")
        assert seen.page.locator(".count").inner_text() == "2 of 6 rows"
        assert seen.page.locator("table.sortable tbody tr").count() == 2
        assert (seen.errors, seen.elsewhere) == ([], [])


def test_a_page_of_several_experiments_takes_for_one_setting_what_differs_by_seed_only(workplace: Path) -> None:
    runs = workplace / "runs"
    for experiment, lr, seed in itertools.product(("one", "two"), (1.0, 2.0), (0, 1)):
        run = make_run(runs, seed=seed, experiment=experiment, snr=np.arange(3) + 9 * lr)
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "optimizer": {"lr": lr}, **NOT_DB}))
        edit_card(run, scores={"test/snr_db": 9 * lr, "val/snr_db": 8 * lr + seed, "val/loss": lr})
    spread = sweep_context(runs, workplace / "report.html")["spread"]
    assert [row[1] for row in spread.rows] == ["2"] * 4
    assert [row[2] for row in spread.rows] == ["16.5 ± 0.71"] * 2 + ["8.5 ± 0.71"] * 2
    assert len({row[0] for row in spread.rows}) == 4


def test_no_setting_is_called_the_best_of_several_data(workplace: Path) -> None:
    losses = {(1.0, 0): 0.1, (1.0, 1): 0.3, (3.0, 0): 0.2}
    sweep(workplace / "runs", losses, dict.fromkeys(losses, 5.0))
    places = {load_config(run)["optimizer"]["lr"]: run for run in (workplace / "runs" / "made_up").iterdir()}
    page = workplace / "report.html"
    assert sweep_context(workplace / "runs", page)["headline"].text.startswith("val/loss, the best by validation: lr=")
    edit_card(places[3.0], data={**read_card(places[3.0])["data"], "test_fingerprint": "another"})
    assert sweep_context(workplace / "runs", page)["headline"] is None
    text = write_report(workplace / "runs" / "made_up").read_text()
    assert "none is called the best" in text
    assert "come first" not in text
    assert "1 of the 3 runs has warnings" in text


def test_the_page_goes_by_the_score_that_tables_go_by(workplace: Path) -> None:
    sweep(workplace / "runs", {(1.0, 0): 0.1, (2.0, 0): 0.2}, {(1.0, 0): 5.0, (2.0, 0): 6.0})
    for run, snr in zip(sorted((workplace / "runs" / "made_up").iterdir()), (3.0, 4.0), strict=True):
        edit_card(run, scores={"test/snr_db": 5.0, "val/loss": 0.1, "val/snr_db": snr, "car/snr_db": 9.0})
    context = sweep_context(workplace / "runs", workplace / "report.html")
    chosen = [validation_score(load_card(run)) for run in (workplace / "runs" / "made_up").iterdir()]
    assert {score.name for score in chosen if score} == {context["objective"].name}
    assert {*context["tested"]} == {"car/snr_db", "test/snr_db"}  # a further test set is a test


def search(runs: Path) -> Path:
    """A search of eight trials, of which the last is the best, and its folder."""
    folder = runs / ".sweeps" / "made_up" / "ID"
    folder.mkdir(parents=True)
    trials = []
    for number in range(8):
        run = make_run(runs, snr=np.arange(3.0) + number, lr=10.0 ** -(1 + number % 2), width=number)
        (run / "config.yaml").write_text(
            yaml.safe_dump({"seed": 0, "optimizer": {"lr": 10.0 ** -(1 + number % 2), "width": number}, **NOT_DB})
        )
        edit_card(run, scores={"test/snr_db": 1.0, "val/loss": 8.0 - number}, monitored=8.0 - number)
        params = {"optimizer.lr": 10.0 ** -(1 + number % 2), "optimizer.width": number}
        trials.append({"number": number, "state": "done", "value": 8.0 - number, "params": params, "runs": [str(run)]})
    trials.append(
        {"number": 8, "state": "failed", "value": None, "params": {"optimizer.lr": 0.05, "optimizer.width": 1}}
    )
    space = {
        "optimizer.lr": {
            "name": "FloatDistribution",
            "attributes": {"step": None, "low": 0.001, "high": 1.0, "log": True},
        },
        "optimizer.width": {"name": "IntDistribution", "attributes": {"step": 1, "low": 0, "high": 9, "log": False}},
    }
    record = {"state": "done", "objective": "val/loss", "direction": "minimize", "space": space, "trials": trials,
              "best": {"command": "speechml-train <b>optimizer.lr=0.01"}, "command": "speechml-train -m"}  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps(record))
    return folder


def test_a_search_shows_its_history_what_mattered_and_which_values_went_together(workplace: Path, browser: Any) -> None:
    folder = search(workplace / "runs")
    context = sweep_context(folder, folder / "report.html")
    found = context["search"]
    trials, best = found.history.series
    assert (len(trials.points), [value for _, value in best.points]) == (8, [8.0 - number for number in range(8)])
    assert found.importance[0][0] == "optimizer.width"
    assert found.parallel["axes"] == ["optimizer.lr", "optimizer.width", "val/loss"]
    assert found.parallel["rows"][-1] == [0.01, 7, 1.0]  # the best is drawn over the others
    assert (found.parallel["logs"], context["logs"].count("optimizer.lr")) == (["optimizer.lr"], 1)
    with opened(browser, write_report(folder), 390) as seen:
        assert seen.page.locator("[data-parallel] path").count() == 8
        assert seen.page.locator("[data-bars] rect").count() == 2
        assert "<b>optimizer.lr=0.01" in seen.page.locator("code").all_inner_texts()[1]
        seen.page.locator("#x-axis").select_option("optimizer.lr")
        assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= 390
        assert (seen.errors, seen.elsewhere) == ([], [])


def test_a_key_is_drawn_as_it_was_searched_and_no_score_in_db_logarithmically(workplace: Path) -> None:
    folder = search(workplace / "runs")
    context = sweep_context(workplace / "runs" / "made_up", folder / "report.html")  # of the runs, not of the search
    assert "optimizer.lr" in context["logs"]
    assert not {"test/snr_db", "optimizer.width", "seed", "val/loss"} & set(context["logs"])  # losses within a decade
    record = json.loads((folder / "sweep.json").read_text())
    record["space"]["optimizer.lr"]["attributes"]["log"] = False
    (folder / "sweep.json").write_text(json.dumps(record))
    context = sweep_context(folder, folder / "report.html")
    assert "optimizer.lr" not in context["logs"]
    assert log_columns(["run", "state"], [], {}) == []


def test_a_damaged_search_is_a_page_without_it(workplace: Path) -> None:
    folder = search(workplace / "runs")
    record = json.loads((folder / "sweep.json").read_text())
    for damage in ({"space": 5}, {"space": {"optimizer.lr": 5}}, {"direction": None, "objective": None, "space": []}):
        (folder / "sweep.json").write_text(json.dumps({**record, **damage}))
        assert "Runs" in write_report(folder).read_text()


def test_a_page_of_five_hundred_runs_is_small_and_holds_them_all(workplace: Path, browser: Any) -> None:
    first = make_run(workplace / "runs", snr=np.arange(50.0))
    epochs = "".join(f"{epoch},{epoch},{0.5 / (epoch + 1)},{0.6 / (epoch + 1)}\n" for epoch in range(300))
    files = {name: (first / name).read_bytes() for name in ("card.json", "predictions.npz")}
    for number in range(500):
        run = first.with_name(f"{number:010d}")
        run.mkdir(exist_ok=True)
        for name, content in files.items():
            (run / name).write_bytes(content)
        (run / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n" + epochs)
        (run / "config.yaml").write_text(
            yaml.safe_dump({"seed": number % 5, "optimizer": {"lr": number / 7}, **NOT_DB})
        )
    page = write_report(workplace / "runs" / "made_up")
    assert page.stat().st_size < 1_000_000
    with opened(browser, page) as seen:
        assert seen.page.locator("table.sortable tbody tr").count() == 100
        seen.page.locator(".more").click()
        assert seen.page.locator("table.sortable tbody tr").count() == 500
        assert seen.page.locator("#scatter circle").count() == 500
        assert seen.errors == []
