"""One run is one run: what is of sweeps is refused, and the command that goes on with it finds it again."""

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import command
from speechml.runs.card import DataCard, RunCard
from speechml.runs.sweep_record import words_again

CARD = RunCard("0", "a", "stopped", DataCard("WavPairs", "random", "f", "t", {"test": 1}))


@pytest.mark.parametrize("word", ["hydra/launcher=slurm", "hydra/sweeper=optuna"])
def test_a_launcher_or_sweeper_of_one_run_is_refused_before_anything_is_computed(word: str, workplace: Path) -> None:
    done = command("speechml-train", word, "experiment=lab2a_fir")
    assert (done.returncode, done.stderr.splitlines()[-1].partition("; ")[2]) == (2, "add -m")
    assert word in done.stderr
    assert not list(workplace.iterdir())


def test_a_default_of_sweeps_is_no_refusal_and_evaluate_is_told_otherwise(workplace: Path) -> None:
    done = command("speechml-train", "hydra/sweeper=grid", "experiment=nothing_like_it")
    assert "there is no experiment" in done.stderr
    done = command("speechml-evaluate", "hydra/launcher=slurm", "run=nowhere")
    assert done.returncode == 2
    assert "leave it out" in done.stderr
    assert not list(workplace.iterdir())


def test_a_run_is_gone_on_with_where_it_lies(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPEECHML_RUNS", raising=False)
    here, there = workplace / "runs" / "a" / "0", workplace / "elsewhere" / "a" / "0"
    assert words_again(here, ["seed=1", "redo=true", "+redo=true"], None) == ["seed=1"]
    assert words_again(there, ["seed=1"], None) == ["seed=1", f"paths.runs={workplace / 'elsewhere'}"]
    assert words_again(there, ["seed=1"], replace(CARD, experiment="a", id="0"))[1:]
    assert words_again(there, ["paths.runs=elsewhere"], None) == ["paths.runs=elsewhere"]
    assert words_again(there, [], None) == []
    monkeypatch.setenv("SPEECHML_RUNS", "elsewhere")
    assert words_again(there, ["seed=1"], None) == ["seed=1"]


def test_a_run_that_was_put_aside_is_gone_on_with_nowhere(workplace: Path) -> None:
    aside = workplace / "runs" / ".old" / "a" / "0-20260101-000000"
    for moved in (aside, workplace / "Downloads" / "0"):
        assert words_again(moved, ["seed=1"], replace(CARD, experiment="a", id="0")) == ["seed=1"]
