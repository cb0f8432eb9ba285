"""One run is one run: what is of sweeps is refused, and the command that goes on with it finds it again."""

from pathlib import Path

import pytest

from conftest import command
from speechml.runs.sweep_record import words_again


@pytest.mark.parametrize("word", ["hydra/launcher=slurm", "hydra/sweeper=optuna"])
def test_a_launcher_or_sweeper_of_one_run_is_refused_before_anything_is_computed(word: str, workplace: Path) -> None:
    done = command("speechml-train", word, "experiment=lab2a_fir")
    assert (done.returncode, done.stderr.splitlines()[-1].partition("; ")[2]) == (2, "add -m")
    assert word in done.stderr
    assert not list(workplace.iterdir())


def test_a_run_is_gone_on_with_where_it_lies(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPEECHML_RUNS", raising=False)
    here, there = workplace / "runs" / "a" / "0", workplace / "elsewhere" / "a" / "0"
    assert words_again(here, ["seed=1", "redo=true", "+redo=true"]) == ["seed=1"]
    assert words_again(there, ["seed=1"]) == ["seed=1", f"paths.runs={workplace / 'elsewhere'}"]
    assert words_again(there, ["paths.runs=elsewhere"]) == ["paths.runs=elsewhere"]
    monkeypatch.setenv("SPEECHML_RUNS", "elsewhere")
    assert words_again(there, ["seed=1"]) == ["seed=1"]
