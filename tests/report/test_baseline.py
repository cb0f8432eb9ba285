"""What runs are compared with is chosen for a reason that is said, and never by the order in which they are given."""

import csv
import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

import speechml as package
from conftest import edit_card, read_card, speechml
from made_up import make_run
from speechml.config.compose import resolve_config
from speechml.errors import UserError
from speechml.report.compare import compare_runs
from speechml.report.comparison_groups import compare_groups, format_groups

SNR = np.random.default_rng(0).normal(10, 5, 40)


def make_scored(runs: Path, lr: float, *words: str, val: dict[str, float] | None = None, **options) -> Path:
    """A denoiser with validation scores, and a command that set some words."""
    folder = make_run(runs, snr=SNR + lr, lr=lr, **options)
    scores = read_card(folder)["scores"]
    edit_card(folder, scores={**{f"val/{name}": value for name, value in (val or {}).items()}, **scores})
    edit_card(folder, overrides=["experiment=made_up", *words, f"seed={options.get('seed', 0)}"])
    return folder


@pytest.fixture
def three(workplace: Path) -> list[Path]:
    """Of which the second is the best by validation, and the third by the test."""
    runs = workplace / "runs"
    scores = ({"snr_db": 1.0, "loss": 0.2}, {"snr_db": 3.0, "loss": 0.3}, {"snr_db": 2.0, "loss": 0.1})
    return [
        make_scored(runs, lr, f"optimizer.lr={lr}", val=val) for lr, val in zip((0.1, 0.2, 0.3), scores, strict=True)
    ]


def test_the_best_by_validation_is_the_reference_in_whatever_order(three: list[Path]) -> None:
    for order in itertools.permutations(three):
        found = compare_runs(order)
        assert [setting.label for setting in found.settings] == ["lr=0.2", "lr=0.3", "lr=0.1"]
        assert found.reason == "the best by validation (val/snr_db)"
        assert [(line.score, line.mean.mean) for line in found.choices] == [("val/snr_db", mean) for mean in (3, 2, 1)]


def test_of_a_loss_less_is_better(three: list[Path]) -> None:
    for folder in three:
        edit_card(folder, objective="val/loss")
    assert [setting.label for setting in compare_runs(three).settings] == ["lr=0.3", "lr=0.1", "lr=0.2"]


def test_the_run_whose_command_sets_nothing_else_is_the_reference(three: list[Path], workplace: Path) -> None:
    default = [make_scored(workplace / "runs", 0.05, seed=seed, val={"snr_db": -9.0}) for seed in (0, 1)]
    found = compare_runs([*three, *default])
    assert [run.folder for run in found.settings[0].runs] == default
    assert found.reason == "the default of made_up"
    for folder in (*three, *default):  # what all have set tells none from another
        edit_card(folder, overrides=[*read_card(folder)["overrides"], "trainer.max_epochs=3"])
    assert compare_runs([*default[::-1], *three]).settings[0].label == found.settings[0].label


def test_a_run_that_sets_what_is_the_default_anyway_is_that(workplace: Path) -> None:
    default = package.compose("experiment=lab2a_fir").optimizer.lr
    folders = []
    for lr, snr in ((default * 2, 5.0), (default, -5.0), (default / 2, 1.0)):
        words = ["experiment=lab2a_fir", "trainer.max_epochs=2", f"optimizer.lr={lr}"]
        folder = make_run(workplace / "runs", experiment="lab2a_fir", snr=SNR + snr)
        (folder / "config.yaml").write_text(yaml.safe_dump(resolve_config(package.compose(words))))
        edit_card(folder, overrides=words, scores={**read_card(folder)["scores"], "val/snr_db": snr})
        folders.append(folder)
    found = compare_runs(folders)
    assert found.settings[0].runs[0].folder == folders[1]
    assert found.reason == "the default of lab2a_fir"
    assert compare_runs([folders[2], folders[0]]).settings[0].runs[0].folder == folders[0]


@pytest.mark.parametrize(
    "word",
    [
        "~trainer.gradient_clip_val", "~trainer.gradient_clip_val=1.0", "~optimizer.betas", "++optimizer.weight_decay=0.1",
        "+optimizer.weight_decay=0.1", "scheduler=one_cycle", "model/net@model.net=mlp", "+model/net@model.teacher=mlp",
    ],
)  # fmt: skip
def test_a_run_that_deleted_added_or_moved_a_key_is_no_default(word: str, workplace: Path) -> None:
    """Of which the default is among the runs, or is not."""
    words = ["experiment=lab2a_fir", "trainer.gradient_clip_val=1.0", "trainer.max_epochs=2"]
    config = resolve_config(package.compose([*words, "++optimizer.betas=[0.9,0.99]"]))
    changed = yaml.safe_load(yaml.safe_dump(config))
    section, _, key = word.strip("~+").partition("=")[0].rpartition("@")[2].partition(".")
    if word.startswith("~"):
        del changed[section][key]
    else:
        changed[section] = {**(changed[section] or {}), key or "_target_": 0.1}
    typed = [*words, "++optimizer.betas=[0.9,0.99]"]

    def make(config, *more: str, **options) -> Path:
        folder = make_run(workplace / "runs", experiment="lab2a_fir", snr=SNR + 5 * len(more), **options)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        edit_card(
            folder, overrides=[*typed, *more], scores={**read_card(folder)["scores"], "val/snr_db": 5.0 * len(more)}
        )
        return folder

    odd = make(changed, word)
    other = make({**config, "optimizer": {**config["optimizer"], "lr": 9.0}}, "optimizer.lr=9.0", "seed=0")
    assert compare_runs([odd, other]).reason == "the best by validation (val/snr_db)"
    default = make(config)
    found = compare_runs([odd, other, default])
    assert (found.settings[0].runs[0].folder, found.reason) == (default, "the default of lab2a_fir")


def test_without_validation_the_run_that_began_first_is_the_reference(workplace: Path) -> None:
    runs = [make_run(workplace / "runs", snr=SNR, lr=lr) for lr in (0.1, 0.2)]
    edit_card(runs[0], started="2026-01-02T00:00:00")
    found = compare_runs(runs)
    assert found.settings[0].label == "lr=0.2"
    assert "which began first" in found.reason


def test_the_baseline_is_named_by_its_folder_its_id_or_the_beginning_of_that(
    three: list[Path], monkeypatch, capsys
) -> None:
    for folder, name in ((three[0], str(three[0])), (three[0], "0000000000"), (three[2], "made_up/0000000002")):
        assert compare_runs(three, baseline=name).settings[0].runs[0].folder == folder
        words = ["compare", *map(str, three), "--baseline", name, "--format", "json"]
        assert speechml(monkeypatch, *words) == 0
        about = json.loads(capsys.readouterr().out)
        assert about["rows"][0]["runs"] == [str(folder)]
        assert about["reason"] == "the baseline as asked"
    for name, told in (
        ("0000", "is the beginning of 3 runs"), ("1234", "the baseline '1234' is none of the runs"), ("", "is none of the runs"),
    ):  # fmt: skip
        assert speechml(monkeypatch, "compare", *map(str, three), "--baseline", name) == 2
        assert told in capsys.readouterr().err


def make_classifier(runs: Path, **options) -> Path:
    label = np.array([0, 0, 0, 1, 2] * 8)
    return make_run(runs, logits=np.eye(3)[label], label=label, data={"test_fingerprint": "words"}, **options)


def test_a_folder_of_mixed_runs_is_compared_by_test_set(
    three: list[Path], workplace: Path, monkeypatch, capsys
) -> None:
    runs = workplace / "runs"
    words = [make_classifier(runs, lr=lr, experiment="words") for lr in (0.1, 0.2)]
    alone = make_run(runs, snr=SNR, data={"test_fingerprint": "other"})
    stopped, untested = make_run(runs, snr=SNR, state="stopped"), make_run(runs)
    mixed = [alone, *words, stopped, *three, untested]
    found = compare_groups(mixed)
    assert [[run.folder for one in group.settings for run in one.runs] for group in found.groups] == [
        [three[1], three[2], three[0]], words,
    ]  # fmt: skip
    assert len(found.omitted) == 2
    assert f"{alone} (test set other of MadeUp)" in found.omitted[0]
    assert f"{stopped} (not done but stopped)" in found.omitted[1]
    assert str(untested) in found.omitted[1]
    named = compare_groups(mixed, baseline=words[1].name)
    assert named.groups[0].settings[0].runs[0].folder == words[1]
    text = format_groups(named, "table")
    assert text.index("test set words: 2 runs of words") < text.index("test set aa: 3 runs of made_up")
    assert next(row["test_set"] for row in csv.DictReader(io.StringIO(format_groups(named, "csv")))) == "words"
    assert len(json.loads(format_groups(named, "json"))["comparisons"]) == 2
    assert package.compare(mixed).rows[0]["runs"] == [str(three[1])]
    for baseline, told in ((alone, "a test set of its own"), (stopped, "is not done but stopped")):
        assert speechml(monkeypatch, "compare", *map(str, mixed), "--baseline", str(baseline)) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(UserError, match="one classifies, the other denoises"):
        compare_groups([three[0], words[0]])


def test_the_noisy_input_and_limits_stand_beside_the_output(workplace: Path) -> None:
    wiener = {"snr_wiener_db": SNR + 20.0}
    runs = [make_run(workplace / "runs", snr=SNR + lr, lr=lr, columns=wiener) for lr in (0.1, 0.2)]
    limits = {(line.score, line.setting.label): line for line in compare_runs(runs).limits}
    assert limits["snr_db", "noisy input"].mean.mean == pytest.approx(1.0)
    assert limits["snr_db", "Wiener filter"].mean.mean == pytest.approx(SNR.mean() + 20)
    assert limits["snr_db", "Wiener filter"].over_items.mean == pytest.approx(19.9)
    assert ("si_sdr_db", "Wiener filter") not in limits
    for form in ("table", "markdown", "csv", "json"):
        text = format_groups(compare_groups(runs), form)
        assert all(word in text for word in ("noisy input", "Wiener filter"))


def test_chance_and_the_most_frequent_class_stand_beside_an_accuracy(workplace: Path) -> None:
    found = compare_runs([make_classifier(workplace / "runs", lr=lr) for lr in (0.1, 0.2)])
    limits = {line.setting.label: line for line in found.limits}
    assert limits["always no"].mean.mean == pytest.approx(0.6)
    assert limits["always no"].over_items.mean == pytest.approx(-0.4)
    assert limits["chance (1 of 3)"].mean.mean == pytest.approx(1 / 3)
    assert {line.score for line in found.limits} == {"acc"}


def test_a_loss_that_rose_is_said_of_its_setting(three: list[Path]) -> None:
    warning = "train/loss rose from 1 in the first epoch to 9 in the last; lower optimizer.lr"
    edit_card(three[0], warnings=[warning])
    assert [note for note in compare_runs(three).notes if "diverged" in note] == [f"lr=0.1 diverged: {warning}"]
    warning = (
        "test: the output is 680.0 dB worse than the noisy input in SNR; the training diverged (lower optimizer.lr)"
    )
    edit_card(three[0], warnings=[warning])
    assert f"lr=0.1 diverged: {warning}" in compare_runs(three).notes


def test_a_key_that_a_run_does_not_have_is_none(workplace: Path) -> None:
    runs = [make_run(workplace / "runs", snr=SNR), make_run(workplace / "runs", snr=SNR, momentum=0.9, nesterov=0.9)]
    assert [setting.label for setting in compare_runs(runs).settings] == ["momentum=(none)", "momentum=0.9"]


def test_settings_with_fewer_seeds_are_named(three: list[Path], workplace: Path) -> None:
    assert "one seed each" in " ".join(compare_runs(three).notes)
    more = make_scored(workplace / "runs", 0.3, "optimizer.lr=0.3", seed=1, val={"snr_db": 2.0, "loss": 0.1})
    assert "settings have 1 to 2 seeds; with one seed: lr=0.2, lr=0.1" in compare_runs([*three, more]).notes


def test_a_metric_of_the_users_own_is_compared_over_seeds(workplace: Path) -> None:
    seeds = [(lr, seed, lr * (1 + seed / 100)) for lr in (0.1, 0.7) for seed in (0, 1, 2)]
    runs = []
    for lr, seed, value in seeds:
        runs.append(make_scored(workplace / "runs", lr, seed=seed))
        edit_card(runs[-1], scores={**read_card(runs[-1])["scores"], "test/seg_snr": value})
    one, other = (line for line in compare_runs(runs).lines if line.score == "seg_snr")
    assert (one.mean.mean, other.mean.mean) == pytest.approx((0.101, 0.707))
    # Differences of 0.6, 0.606 and 0.612: their deviation is 0.006, and t of 2 degrees of freedom 4.3027.
    assert other.over_seeds[:3] == pytest.approx((0.606, 0.606 - 0.014905, 0.606 + 0.014905), abs=1e-6)
    assert (other.over_items.units, other.verdict) == (0, "higher")
    for rows in (range(20), range(40)):  # of some of the items it is not known
        runs[0] = make_run(workplace / "runs", snr=SNR[rows], lr=0.1, names=[f"item{i:04d}" for i in rows])
        assert "seg_snr" not in {line.score for line in compare_runs(runs[:4]).lines}


def test_validation_scores_have_differences_over_seeds(workplace: Path) -> None:
    of = {0.1: (1.0, 2.0, 3.0), 0.2: (3.0, 4.5, 6.0)}
    runs = [make_scored(workplace / "runs", lr, f"optimizer.lr={lr}", seed=seed, val={"snr_db": value})
            for lr, values in of.items() for seed, value in enumerate(values)]  # fmt: skip
    best, other = compare_runs(runs).choices
    assert (best.setting.label, best.verdict, other.setting.label) == ("lr=0.2", "", "lr=0.1")
    # Differences of -2, -2.5 and -3: their deviation is 0.5, and t of 2 degrees of freedom 4.3027.
    half = 4.3027 * 0.5 / 3**0.5
    assert other.over_seeds[:3] == pytest.approx((-2.5, -2.5 - half, -2.5 + half), abs=1e-3)
    assert other.verdict == ""  # the best of several is the best by chance, too
    assert math.isnan(other.over_seeds.p)
    one_each = compare_runs([runs[0], runs[3]]).choices[1]
    assert (one_each.over_seeds.mean, one_each.verdict) == (-2.0, "")
